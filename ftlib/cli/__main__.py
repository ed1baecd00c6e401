"""``python -m ftlib.cli``: the command line, for launchers that start modules, such as torchrun."""

from ftlib.cli import main

main()
