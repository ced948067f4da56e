"""All that a run's records give, each file made again from the records alone."""

from __future__ import annotations

from pathlib import Path

from harness.records.store import Run
from harness.report import interchange, plots, tables


def write_all(run: Run, folder: Path) -> list[Path]:
    """Write all derived files of a run into a folder; returns the paths."""
    return [
        *tables.write_all(run, folder / "tables"),
        *plots.write_all(run, folder / "plots"),
        interchange.write(run, folder),
    ]
