"""`python main.py COMMAND`: the same command line as `smallcap`."""

import sys

from scripts.entry import main

if __name__ == "__main__":
    sys.exit(main())
