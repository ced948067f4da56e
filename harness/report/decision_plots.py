"""Plots that a choice is read from: the decision map, and the time that a process takes in all."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from harness.analyse import frames
from harness.analyse.costs import earning
from harness.analyse.launches import GROUP
from harness.analyse.pairs import FIRST_CALL_DOUBT
from harness.analyse.winners import NO_TIME, NOT_PLANNED
from harness.records.modes import pass_words
from harness.report.drawing import (
    GREY,
    Figure,
    Styles,
    count,
    group_title,
    head,
    legend,
    plain_ticks,
    telling,
    threads,
)

SERIES = ["device", "threads", "dtype", "pass"]
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}
"""Of a text in the middle of a cell, which has room for it: the layout need not measure it."""


def decisions(winners: pd.DataFrame, styles: Styles, title: str) -> Figure:
    """The pick by size (columns) and device × threads × dtype × pass (rows); what is not settled is hatched.

    Names are written out, so that nothing rests on the colours alone. Rows and columns for which there was no time are
    counted in the title, unless there is no other.
    """
    winners, rest = _with_time(winners)
    sizes = list(dict.fromkeys(winners["dims"]))
    lines = list(winners.groupby(SERIES, sort=False))
    names = max(1 + dims.count(",") for dims in sizes)
    figure = Figure(figsize=(max(4.6, 1.9 + 1.5 * len(sizes)), 0.69 + 0.13 * names + 0.42 * len(lines)))
    axes = figure.subplots()
    for y, (_, rows) in enumerate(lines):
        for row in frames.rows_of(rows):
            _cell(axes, sizes.index(row.dims), y, row, styles)
    axes.set_xlim(0, len(sizes))
    axes.set_ylim(len(lines), 0)
    axes.set_xticks(np.arange(len(sizes)) + 0.5, [dims.replace(",", "\n") for dims in sizes])
    axes.set_yticks(np.arange(len(lines)) + 0.5, [_line_name(next(frames.rows_of(rows))) for _, rows in lines])
    axes.tick_params(length=0)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    measured = count(winners.assign(status="ok").query("launches > 0"))
    head(
        figure,
        f"What to use, {title}\nthe next one's time over the pick's, 95 % interval over all pairs;\n"
        f"hatched with ?: not settled; empty: not measured; {measured}{rest}",
    )
    return figure


def _with_time(winners: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows and columns of the map that hold more than what there was no time for, and what to say of the others."""
    seen = winners[~winners["reason"].isin((NO_TIME, NOT_PLANNED))]
    if seen.empty:
        return winners, ""
    lines = pd.MultiIndex.from_frame(winners[SERIES]).isin(pd.MultiIndex.from_frame(seen[SERIES]))
    kept = winners[lines & winners["dims"].isin(seen["dims"])]
    left = int((winners["reason"] == NO_TIME).sum() - (kept["reason"] == NO_TIME).sum())
    was = "was" if left == 1 else "were"
    return kept, f"\n{left} more {was} left out for time; the table names them" if left else ""


def _line_name(row: SimpleNamespace) -> str:
    return f"{row.dtype} · {row.device}{threads(row)}\n{pass_words(row.passed)}"


def _cell(axes: Axes, x: int, y: int, row: SimpleNamespace, styles: Styles) -> None:
    def box(**look: Any) -> None:
        axes.add_patch(Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, **look))

    if not row.pick:
        box(facecolor="none", edgecolor="#cccccc", linewidth=0.6, linestyle=(0, (2, 3)))
        text = row.reason if len(row.reason) < 26 else "no strategy passed"
        axes.text(x + 0.5, y + 0.5, text, fontsize=5.5, color=GREY, **CENTRED)
        return
    color = styles[row.pick]["color"]
    box(facecolor=color, alpha=0.22, edgecolor="none")
    sure = row.confidence != "unsettled"
    if not sure:
        box(facecolor="none", edgecolor=color, linewidth=0, alpha=0.25, hatch="////")
    box(facecolor="none", edgecolor=color, linewidth=1.0, linestyle="-" if sure else ":")
    axes.text(x + 0.5, y + 0.32, row.pick + ("" if sure else " ?"), fontsize=7.5, weight="bold", **CENTRED)
    axes.text(x + 0.5, y + 0.70, _margin(row), fontsize=5.3, **CENTRED)


def _margin(row: SimpleNamespace) -> str:
    if row.confidence == "tie" and row.ties:
        return f"= {row.ties.replace(' ', ', ')}"
    if math.isnan(row.ratio):
        return "the only one"
    interval = "" if math.isnan(row.ratio_low) else f" ({row.ratio_low:.2f}–{row.ratio_high:.2f})"
    return f"{row.runner_up} {row.ratio:.2f}×{interval}"


def break_evens(timing: pd.DataFrame, first: pd.DataFrame, styles: Styles, title: str) -> Figure | None:
    """Seconds of a process against its number of calls, the cold first one among them; a panel for each group.

    Only groups whose own first calls were measured cold; None where there are none.
    """
    timing, rest = telling(earning(timing))
    known = first[first["cold"].notna()]
    cold = {tuple(key): float(s) for *key, s in known[[*GROUP, "strategy", "cold"]].itertuples(index=False)}
    groups = [
        (key, rows)
        for key, rows in timing.groupby([*GROUP, "order"], sort=False)
        if any((*key[:-1], name) in cold for name in rows["strategy"])
    ]
    if not groups:
        return None
    columns = min(3, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(1.2 + 2.5 * columns, 1.2 + 2.1 * lines))
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    calls = np.logspace(0, 6, 61)
    for axes, (key, rows) in zip(panels.flat, groups, strict=False):
        for row in frames.rows_of(rows):
            if (*key[:-1], row.strategy) not in cold:
                continue
            start, style = cold[(*key[:-1], row.strategy)], styles[row.strategy]
            look = {"color": style["color"], "linestyle": style["dash"], "marker": style["marker"], "markersize": 3.5}
            axes.plot(calls, start + (calls - 1) * row.latency, label=row.strategy, markevery=10, linewidth=1.1, **look)
        row = next(frames.rows_of(rows))
        where = group_title(row).replace(" · ", "\n", 1)
        axes.set_title(f"{where}\n{pass_words(row.passed)}", loc="left", fontsize=7)
        axes.set_xlabel("calls")
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
    for number in range(len(groups), panels.size):
        panels.flat[number].set_visible(False)
        panels.flat[number - columns].tick_params(labelbottom=True)  # it is the last one of its column
    for line in panels:
        line[0].set_ylabel("seconds in all")
    handles, labels = legend(panels.flat)
    figure.legend(handles, labels, loc="outside lower left", ncols=6)
    head(
        figure,
        f"First call, compilation and all later ones, {title}\n"
        f"a first call is measured once, right within a factor of {FIRST_CALL_DOUBT:g}; {count(timing)}{rest}",
    )
    return figure
