"""``transformers serve``, in a process that ends with the one that started it: PARENT ARGUMENTS..."""

import sys

from ftlib.hosted.server_process import end_with_parent


def main() -> None:
    """Run transformers' command line."""
    _, parent, *arguments = sys.argv
    end_with_parent(int(parent))
    from transformers.cli import transformers

    sys.argv = ["transformers", *arguments]
    transformers.main()


if __name__ == "__main__":
    main()
