"""The application, and how a command ends.

Exit codes: 0 fine · 1 a check failed · 2 bad usage or input · 3 not settled · 4 nothing ran · 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which way should I implement this layer? Check that strategies agree, then measure them.",
)

FAILED, USAGE, INCONCLUSIVE, NOTHING_RAN, INTERRUPTED = 1, 2, 3, 4, 130


def fail(message: str, code: int = USAGE) -> typer.Exit:
    """One clear line on standard error, and the exit that goes with it."""
    typer.echo(f"layerbench: {message}", err=True)
    return typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into one line and the documented exit code."""
    from harness.layers.discover import SourceError
    from harness.records.store import StoreError
    from harness.run.conductor import WorkerError
    from harness.run.wanted import UsageError

    try:
        yield
    except (SourceError, StoreError, UsageError) as error:
        raise fail(str(error)) from None
    except WorkerError as error:
        raise fail(str(error), FAILED) from None


@contextmanager
def how_to_resume(where: list[Path], more: list[str] | None, on: str = "local") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        again = "".join(f" --from {source}" for source in more or ()) + (f" --on {on}" if on != "local" else "")
        hint = f"; go on with: layerbench bench --resume --out {where[-1]}{again}" if where else ""
        raise fail(f"interrupted; finished cells are kept{hint}", INTERRUPTED) from None


def as_rows(frame: Any) -> Any:
    """A frame as JSON rows, every digit kept; NaN becomes null."""
    return [{k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]
