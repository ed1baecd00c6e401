"""The samples here are read, never run: they need libraries as they were in 2023."""

collect_ignore_glob = ["*.py"]
