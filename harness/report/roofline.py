"""The roofline plot (Williams, Waterman, Patterson 2009): what a case reaches below the rates that the machine has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from harness.analyse import frames
from harness.analyse.contending import in_bytes
from harness.records.modes import pass_words
from harness.records.store import Record
from harness.report.drawing import (
    GREY,
    SERIES,
    Figure,
    Styles,
    head,
    legend,
    plain_ticks,
    series,
    series_title,
    telling,
)


def rooflines(cases: pd.DataFrame, roofs: Sequence[Record], styles: Styles, title: str) -> Figure | None:
    """Rate against arithmetic intensity, a panel for each series (see ``drawing.series``) and pass; a point
    is a strategy.

    Args:
        cases: ``device.roofs`` of one layer.
        roofs: the rates that were measured in the same run.

    Returns:
        None where there is no case with operations to count, or nothing to hold it against.
    """
    cases, rest = telling(cases[cases["flops"] > 0], SERIES)
    lines = series(cases)
    if not lines or not roofs:
        return None
    passes = list(dict.fromkeys(cases["pass"]))
    figure = Figure(figsize=(1.2 + 2.6 * len(passes), 1.5 + 2.2 * len(lines)))
    panels = figure.subplots(len(lines), len(passes), squeeze=False, sharex=True, sharey="row")
    for line, rows in zip(panels, lines, strict=True):
        one = next(frames.rows_of(rows))
        here = [r for r in roofs if (r["device"], r["threads"]) == (one.device, one.threads)]
        mine = [r for r in here if r["dtype"] in ("", one.dtype)]
        for axes, passed in zip(line, passes, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            _points(axes, rows[rows["pass"] == passed], styles)
            _roofs(axes, mine, cases["flops"] / cases["bytes"])
            axes.set_title(pass_words(passed), loc="left")
        line[0].set_title(f"{series_title(one)}\n{pass_words(passes[0])}", loc="left")
        line[0].set_ylabel("GFLOP/s")
        plain_ticks(line[0].yaxis)
    for axes in panels[-1]:
        axes.set_xlabel("operations a compulsory byte")
        plain_ticks(axes.xaxis)
    handles, labels = legend(panels.flat)
    figure.legend(handles, labels, loc="outside lower left", ncols=6)
    head(
        figure,
        f"Roofline, {title}\n"
        f"lines: rates measured in the same run; short bar: the roof at a case's own footprint{rest}",
    )
    return figure


def _points(axes: Axes, rows: pd.DataFrame, styles: Styles) -> None:
    for name, own in rows.groupby("strategy", sort=False):
        style, order = styles[str(name)], own["dims"].map(frames.size).sort_values(kind="stable").index
        own = own.loc[order]
        look = {"color": style["color"], "linestyle": style["dash"], "marker": style["marker"]}
        rate = own["flops"] / own["latency"] / 1e9
        axes.plot(own["flops"] / own["bytes"], rate, label=str(name), markersize=4.5, linewidth=0.8, **look)
    own = rows.drop_duplicates("dims")
    axes.plot(own["flops"] / own["bytes"], own["flops"] / own["floor"] / 1e9, "_", color="black", markersize=9)


def _roofs(axes: Axes, roofs: Sequence[Record], intensity: pd.Series[float]) -> None:
    """The copy rates of the fastest and the slowest footprint as slopes, up to the rate of products."""
    product = max(r["per_second"] for r in roofs if r["what"] == "product") / 1e9
    copies = sorted((r for r in roofs if r["what"] == "copy"), key=lambda r: r["per_second"])
    low = min(float(intensity.min()), *(1e9 * product / r["per_second"] for r in copies)) / 4
    high = max(float(intensity.max()), *(1e9 * product / r["per_second"] for r in copies)) * 4
    x = np.geomspace(low, high, 200)
    lines, names = [], []
    for copy, dash in zip((copies[-1], copies[0]), ("-", "--"), strict=True):
        rate = copy["per_second"] / 1e9
        lines += axes.plot(x, np.minimum(product, rate * x), color=GREY, linewidth=0.9, linestyle=dash, zorder=0)
        names.append(f"{rate:.3g} GB/s, copies of {in_bytes(copy['footprint'])}")
    axes.legend(lines, names, loc="lower right", fontsize=5.5)
    axes.annotate(
        f"{product:.3g} GFLOP/s", (high, product), xytext=(0, 2), textcoords="offset points", fontsize=5.5, color=GREY,
        ha="right",
    )  # fmt: skip
