"""``python -m harness`` is ``layerbench``."""

from harness.cli import main

if __name__ == "__main__":
    main()
