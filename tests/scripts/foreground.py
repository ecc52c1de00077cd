"""Commands that Ctrl-C can end, as one that a person starts in a terminal."""

import sys

# What a shell runs in the background ignores SIGINT, and so would all that a test run of that kind starts
FOREGROUND = (
    sys.executable, "-I", "-S", "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)  # fmt: skip
