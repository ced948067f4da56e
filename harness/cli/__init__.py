"""The command line: one short function a command."""

import sys

from harness.cli import (  # noqa: F401 - they add commands
    checking,
    compiling,
    deciding,
    measuring,
    proving,
    publishing,
    starting,
)
from harness.cli.app import app


def main() -> None:
    """Run the command line."""
    app(prog_name="layerbench" if not sys.argv[0].endswith("__main__.py") else "python -m harness")
