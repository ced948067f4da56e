"""All that a run's records give: tables, plots and the page, each made again from the records alone."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from harness.analyse.findings import findings
from harness.records.store import Run
from harness.report import interchange, page, plots, tables
from harness.report.drawing import RC, inline, save


def write_all(run: Run, folder: Path, pdf: bool = False) -> list[Path]:
    """Write ``tables/``, ``plots/``, ``pytest-benchmark.json`` and ``report.html`` into a folder; returns the paths."""
    found = findings(run)
    written = tables.write_all(run, folder / "tables", found)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    figures = []
    with mpl.rc_context(RC):
        for number, plot in enumerate(plots.draw(found)):
            written += save(plot.figure, folder / "plots" / plot.name, pdf)
            svg, width = inline(plot.figure, f"f{number}-"), plot.figure.get_figwidth()
            figures.append(page.Figure(plot.name, plot.layer, plot.caption, width, svg))
    return [*written, interchange.write(found.have, folder), page.write(found, figures, folder)]
