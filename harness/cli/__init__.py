"""The command line: one short function a command."""

import io
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
    """Run the command line; what the terminal's encoding lacks is shown as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="layerbench" if not sys.argv[0].endswith("__main__.py") else "python -m harness")
