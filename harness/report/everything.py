"""All that a run's records give: tables, plots and the page, each made again from the records alone."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import matplotlib as mpl

from harness.analyse.findings import Findings, findings
from harness.records.store import Run
from harness.report import interchange, page, plots, tables
from harness.report.drawing import RC, inline, save

_plots: list[plots.Plot] = []
"""What the processes that draw were forked with: plots hold frames and functions, which are not sent to a process."""


def write_all(run: Run, folder: Path, pdf: bool = False) -> list[Path]:
    """Write ``tables/``, ``plots/``, ``pytest-benchmark.json`` and ``report.html`` into a folder; returns the paths."""
    found = findings(run)
    with _drawing(found, folder / "plots", pdf) as drawing:
        written = tables.write_all(run, folder / "tables", found)
        interchanged = interchange.write(found.have, folder)
        drawn = list(drawing)
    written += [path for paths, _ in drawn for path in paths]
    figures = [figure for _, figure in drawn]
    return [*written, interchanged, page.write(found, figures, folder)]


def write_plots(found: Findings, folder: Path, pdf: bool = False) -> list[tuple[list[Path], page.Figure]]:
    """Draw every plot of a run as SVG and PNG, on request as PDF too, on all cores.

    Returns:
        Of each, the paths and the element of the page.

    Raises:
        OSError: the folder cannot be written, or a process that draws was killed.
    """
    with _drawing(found, folder, pdf) as drawing:
        return list(drawing)


@contextmanager
def _drawing(found: Findings, folder: Path, pdf: bool) -> Iterator[Iterator[tuple[list[Path], page.Figure]]]:
    """Draws the plots in processes beside this one, which meanwhile may do something else."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(plots.plots_of(found))
    cores, n = len(os.sched_getaffinity(0)), len(wanted)
    try:
        with ProcessPoolExecutor(cores, get_context("fork"), _inherit, (wanted,)) as pool:
            drawn = pool.map(_saved, range(n), [folder] * n, [pdf] * n)
            try:
                yield (one for one in drawn if one is not None)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise OSError(errno.ENOMEM, "a process that drew plots was killed, perhaps for memory") from None


def _inherit(wanted: Sequence[plots.Plot]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches them all; the parent answers it
    _plots[:] = wanted


def _saved(number: int, folder: Path, pdf: bool) -> tuple[list[Path], page.Figure] | None:
    """Draw and save one of the plots."""
    plot = _plots[number]
    with mpl.rc_context(RC):
        figure = plot.draw()
        if figure is None:
            return None
        paths = save(figure, folder / plot.name, pdf)
    svg = inline(paths[0].read_text(encoding="utf-8"), f"f{number}-")
    return paths, page.Figure(plot.name, plot.layer, plot.caption, figure.get_figwidth(), svg)
