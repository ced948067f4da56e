"""Plots over the measured sizes: ratios with their intervals, and bytes; and the noise of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from harness.analyse import frames
from harness.analyse.costs import OF_PASS
from harness.analyse.launches import GROUP
from harness.records.modes import STEPS, pass_words
from harness.report.drawing import (
    GREY,
    SERIES,
    Figure,
    Styles,
    count,
    group_title,
    head,
    legend,
    plain_ticks,
    series,
    series_title,
    size_name,
    telling,
    threads,
)

MOST_NOISES = 48
"""The noise plot shows no more groups × passes than these, the noisiest."""


def ratios(timing: pd.DataFrame, styles: Styles, title: str) -> Figure | None:
    """Speed-up against size: a ribbon is the interval, grey the tie band, 1.0 the baseline. None without two sizes."""
    timing, rest = telling(timing, SERIES)
    timing = timing[timing["status"] == "ok"]
    swept = [rows for rows in series(timing) if rows["dims"].nunique() > 1]
    passes = list(dict.fromkeys(pd.concat(swept or [timing]).sort_values("order")["pass"]))
    if not swept or not (timing["verdict"] == "baseline").any():
        return None
    figure = Figure(figsize=(1.0 + 2.3 * len(passes), 1.3 + 2.1 * len(swept)))
    panels = figure.subplots(len(swept), len(passes), squeeze=False, sharey="row", sharex="row")
    for line, rows in zip(panels, swept, strict=True):
        for axes, passed in zip(line, passes, strict=True):
            axes.set_visible(bool((rows["pass"] == passed).any()))
            _ratio_panel(axes, rows[rows["pass"] == passed], styles)
            axes.set_title(pass_words(passed), loc="left")
            axes.set_xlabel(f"size ({size_name(rows)})")
        plain_ticks(line[0].yaxis)
        plain_ticks(line[0].xaxis)
        name = series_title(next(frames.rows_of(rows)))
        line[0].set_title(f"{name}\n{pass_words(passes[0])}", loc="left")
        line[0].set_ylabel("speed-up (×)")
    handles, labels = legend(panels.flat)
    figure.legend(handles, labels, loc="outside lower left", ncols=6)
    head(
        figure,
        f"Speed-up against size, {title}\n"
        f"ribbon: 95 % interval, joint at each size; grey: tie band; {count(timing)}{rest}",
    )
    return figure


def _ratio_panel(axes: Axes, rows: pd.DataFrame, styles: Styles) -> None:
    rows = rows.assign(size=rows["dims"].map(frames.size)).sort_values("size", kind="stable")
    bands = rows.groupby("size")["margin"].max()
    axes.fill_between(bands.index, 1 / (1 + bands), 1 + bands, color="#d8d8d8", linewidth=0, zorder=0)
    axes.axhline(1.0, color="black", linewidth=0.8)
    for name, own in rows[rows["verdict"] != "baseline"].groupby("strategy", sort=False):
        style = styles[str(name)]
        low, high = 1 / own["ratio_high"], 1 / own["ratio_low"]
        axes.fill_between(own["size"], low, high, color=style["color"], alpha=0.13, linewidth=0)
        look = {"color": style["color"], "linestyle": style["dash"], "marker": style["marker"]}
        axes.plot(own["size"], 1 / own["ratio"], label=str(name), markersize=4, linewidth=1.2, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")


def bytes_by_size(memory: pd.DataFrame, styles: Styles, title: str) -> Figure | None:
    """Bytes above parameters and inputs against size, a panel for each pass that differs. None without two sizes."""
    memory, rest = telling(memory[memory["reason"] == ""], SERIES)
    swept = [rows for rows in series(memory) if rows["dims"].nunique() > 1]
    if not swept:
        return None
    steps = [name for name in STEPS if {*OF_PASS[name]} <= {*memory}]
    passes = ("forward", "forward_backward", *steps)
    figure = Figure(figsize=(1.0 + 2.3 * len(passes), 1.3 + 2.1 * len(swept)))
    panels = figure.subplots(len(swept), len(passes), squeeze=False, sharex="row")
    for line, rows in zip(panels, swept, strict=True):
        for axes, passed in zip(line, passes, strict=True):
            held = rows[list(OF_PASS[passed])].max(axis=1) / 1024
            shown = rows.assign(size=rows["dims"].map(frames.size), held=held).sort_values("size", kind="stable")
            for name, own in shown.groupby("strategy", sort=False):
                style = styles[str(name)]
                look = {"color": style["color"], "linestyle": style["dash"], "marker": style["marker"]}
                axes.plot(
                    own["size"], own["held"], label=str(name), markersize=4, linewidth=1.2, fillstyle="none", **look
                )
            if passed == "forward_backward":
                least = shown.groupby("size")["least"].min() / 1024
                axes.plot(least.index, least, color="black", linewidth=0.9, linestyle=":", zorder=0)
            axes.set_xscale("log")
            if held.min() > 0:
                axes.set_yscale("log")
                plain_ticks(axes.yaxis)
            else:
                axes.set_yscale("symlog", linthresh=1)
                axes.set_ylim(bottom=0)
            axes.set_title(pass_words(passed), loc="left")
            axes.set_xlabel(f"size ({size_name(rows)})")
        line[0].set_title(f"{series_title(next(frames.rows_of(rows)))}\nforward", loc="left")
        line[0].set_ylabel("KiB")
        plain_ticks(line[0].xaxis)
    handles, labels = legend(panels.flat)
    figure.legend(handles, labels, loc="outside lower left", ncols=6)
    head(
        figure,
        f"Memory against size, {title}\nhighest above parameters and inputs, exact bytes of torch's allocator; "
        f"dotted: output and gradients alone{rest}",
    )
    return figure


def noises(noise: pd.DataFrame, samples: pd.DataFrame, title: str) -> Figure | None:
    """The baseline against itself in each group and pass; beside it the samples of one of these, in their order.

    None where no baseline was measured.
    """
    if noise.empty:
        return None
    every = len(noise)
    noise = noise.loc[noise["margin"].nlargest(MOST_NOISES).index.sort_values()]
    rest = f"\nthe noisiest {MOST_NOISES} of {every}; the table has all" if every > MOST_NOISES else ""
    figure = Figure(figsize=(7.2, max(2.4, 0.9 + 0.19 * len(noise))))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    y, band = np.arange(len(noise)), 1 + noise["margin"].to_numpy()
    left.use_sticky_edges = False
    left.barh(y, band - 1 / band, left=1 / band, color="#d8d8d8", linewidth=0)
    left.hlines(y, noise["ratio_low"], noise["ratio_high"], color="black", linewidth=1.2)
    left.plot(noise["ratio"], y, "o", color="black", markersize=3)
    left.axvline(1.0, color=GREY, linewidth=0.8)
    names = [
        f"{r.dims.replace(',', ' ')} {r.dtype}{threads(r)} {pass_words(r.passed).replace(' + ', '+')}"
        for r in frames.rows_of(noise)
    ]
    left.set_yticks(range(len(names)), names, fontsize=5.5)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_title("baseline ÷ itself; tie band grey", loc="left")
    both = samples["pass"] == "forward_backward"
    chosen = samples[both] if both.any() else samples
    _samples(right, next(rows for _, rows in chosen.groupby([*GROUP, "pass"], sort=False)))
    head(figure, f"Noise, {title}{rest}")
    return figure


def _samples(axes: Axes, rows: pd.DataFrame) -> None:
    start = 0
    for number, (launch, own) in enumerate(rows.groupby("launch", sort=True)):
        x = start + np.arange(len(own))
        axes.plot(x, own["share"], ".", color=("black", GREY)[number % 2], markersize=3)
        axes.hlines(own["share"].median(), x[0] - 0.5, x[-1] + 0.5, color=("black", GREY)[number % 2], linewidth=1.0)
        axes.annotate(str(launch), (x[0], 0.01), xycoords=("data", "axes fraction"), fontsize=6, color=GREY)
        start += len(own) + 2
    axes.axhline(1.0, color=GREY, linewidth=0.6)
    row = next(frames.rows_of(rows))
    where = group_title(row).replace(" · ", "\n", 1)
    axes.set_title(
        f"the baseline's samples in order, by launch\n{where}\n{pass_words(row.passed)}", loc="left", fontsize=7
    )
    axes.set_xticks([])
    axes.set_ylabel("time ÷ median")
