"""`python main.py COMMAND`: the same command line as `smallcap`."""

from scripts.cli import main

if __name__ == "__main__":
    main()
