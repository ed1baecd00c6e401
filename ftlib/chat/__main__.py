"""``python -m ftlib.chat``: the same as ``ftlib chat``."""

import sys

from ftlib.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "chat")
    main()
