"""Plots of a run: SVG that regenerates byte for byte (fixed salt, no date) and PNG, from the same frames as the tables.

Every strategy keeps its colour (Okabe–Ito), marker and dash in all of them; what was not measured is named in grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.analyse import frames
from harness.analyse.findings import Findings
from harness.analyse.launches import GROUP
from harness.records.modes import pass_words
from harness.records.store import Record, Run
from harness.report import decision_plots, sweep_plots, waived
from harness.report.drawing import (
    GREY,
    SERIES,
    Figure,
    Styles,
    complete,
    count,
    group_title,
    head,
    legend,
    machine,
    plain_ticks,
    series,
    series_title,
    size_name,
    telling,
)
from harness.report.roofline import rooflines

NAMES = ("decision", "speedup", "ratio", "latency", "memory-size", "break-even", "noise", "roofline", "memory",
         "training")  # fmt: skip
"""What there can be a plot of; its name is one of these, a hyphen and the layer's."""


@dataclass(frozen=True)
class Plot:
    """The name of a plot's files, its layer, what it shows, and what draws it: None where there is nothing to draw."""

    name: str
    layer: str
    caption: str
    draw: Callable[[], Figure | None]


def plots_of(found: Findings) -> Iterator[Plot]:
    """Every plot of a run, none of them drawn yet; draw and save within ``mpl.rc_context(RC)``."""
    run, timing, memory = found.run, found.have.timing, found.have.memory
    styles, roofs = complete(frames.styles(run)), run.of("roof")
    for layer, rows in timing.groupby("layer", sort=False):
        title = _title(run, str(layer))
        held, cold = _of(memory, layer), _of(found.have.first, layer)
        noisy, samples, points = (_of(x, layer) for x in (found.noise, found.in_order, found.roofs))
        figures: dict[str, tuple[str, Callable[[], Figure | None]]] = {
            "decision": (
                "what to use",
                partial(decision_plots.decisions, _of(found.winners, layer), styles, title),
            ),
            "speedup": ("speed-up over the baseline", partial(speed_ups, rows, styles, title)),
            "ratio": ("speed-up against size", partial(sweep_plots.ratios, rows, styles, title)),
            "latency": ("time against size", partial(latencies, rows, roofs, styles, title)),
            "memory-size": ("memory against size", partial(sweep_plots.bytes_by_size, held, styles, title)),
            "break-even": (
                "first call and all later ones",
                partial(decision_plots.break_evens, rows, cold, styles, title),
            ),
            "noise": ("the baseline against itself", partial(sweep_plots.noises, noisy, samples, title)),
            "roofline": ("rates under the machine's roofs", partial(rooflines, points, roofs, styles, title)),
        }
        for name, (caption, drawn) in figures.items():
            yield Plot(f"{name}-{layer}", str(layer), caption, drawn)
    for layer, rows in memory[memory["reason"] == ""].groupby("layer", sort=False):
        drawn = partial(memories, rows, styles, _title(run, str(layer)))
        yield Plot(f"memory-{layer}", str(layer), "memory of each strategy", drawn)
    for name, rows in _trainings(found.training):
        layer = str(rows["layer"].iloc[0])
        drawn = partial(curves, rows, styles, _title(run, layer))
        yield Plot(f"training-{name}", layer, "training curves", drawn)


def _title(run: Run, layer: str) -> str:
    return "\n".join(filter(None, (f"{layer} · {machine(run)}", waived.sentence(run, layer))))


def _of(frame: pd.DataFrame, layer: object) -> pd.DataFrame:
    return frame[frame["layer"] == layer]


def speed_ups(timing: pd.DataFrame, styles: Styles, title: str) -> Figure:
    """Baseline time ÷ strategy time with its interval, a panel for each group × pass; the tie band is shaded.

    Groups of which nothing was measured are counted in the title and not drawn, unless there is no other.
    """
    seen = timing.groupby(GROUP)["status"].transform(lambda s: (s == "ok").any()).astype(bool)
    empty = len(timing.loc[~seen, GROUP].drop_duplicates()) if seen.any() else 0
    timing, rest = telling(timing[seen] if empty else timing)
    rest += f"\n{empty} more {'was' if empty == 1 else 'were'} not measured; the table says why" if empty else ""
    groups = list(timing.groupby(GROUP, sort=False))
    passes = list(dict.fromkeys(timing.sort_values("order")["pass"]))
    names = list(dict.fromkeys(timing["strategy"]))
    low, high = _limits(timing)
    figure = Figure(figsize=(1.2 + 2.6 * len(passes), 0.9 + len(groups) * (0.45 + 0.2 * len(names))))
    panels = figure.subplots(len(groups), len(passes), squeeze=False, sharex=True, sharey=True)
    for line, (_, group) in zip(panels, groups, strict=True):
        for axes, passed in zip(line, passes, strict=True):
            rows = group[group["pass"] == passed]
            if rows.empty:  # the group does not have this pass
                axes.set_visible(False)
                continue
            _speed_up_panel(axes, rows, names, styles)
            axes.set_title(pass_words(passed), loc="left")
        line[0].set_title(f"{group_title(next(frames.rows_of(group)))}\n{pass_words(passes[0])}", loc="left")
    for column in panels.T:
        lowest = [axes for axes in column if axes.get_visible()][-1]
        lowest.set_xlabel("speed-up over the baseline (×)")
        lowest.tick_params(labelbottom=True)
    panels[0][0].set_xscale("log")
    panels[0][0].set_xlim(low, high)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].set_ylim(len(names) - 0.4, -0.6)
    for axes in panels.flat:
        plain_ticks(axes.xaxis)
    head(
        figure,
        f"Speed-up over {_baseline(timing)}, {title}\n"
        f"95 % intervals, joint in each panel; tie band grey; {count(timing)}{rest}",
    )
    return figure


def _baseline(timing: pd.DataFrame) -> str:
    found = timing.loc[timing["verdict"] == "baseline", "strategy"]
    return str(found.iloc[0]) if len(found) else "the baseline"


def _limits(timing: pd.DataFrame) -> tuple[float, float]:
    values = 1 / timing[["ratio", "ratio_low", "ratio_high"]].to_numpy(dtype=float).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.5, 2.0
    return min(0.8, float(values.min()) / 1.1), max(1.25, float(values.max()) * 1.1)


def _speed_up_panel(axes: Axes, rows: pd.DataFrame, names: list[str], styles: Styles) -> None:
    axes.axvline(1.0, color="black", linewidth=0.8)
    bands = rows["margin"].dropna()
    if len(bands):
        axes.axvspan(1 / (1 + bands.max()), 1 + bands.max(), color="#dddddd", alpha=0.6, linewidth=0)
    for row in frames.rows_of(rows):
        y, style = names.index(row.strategy), styles[row.strategy]
        if row.status != "ok" or np.isnan(row.ratio):
            text = row.status if row.status != "ok" else "no baseline"
            axes.text(
                0.02,
                y,
                text.replace("_", " "),
                color=GREY,
                va="center",
                fontsize=7,
                in_layout=False,
                transform=axes.get_yaxis_transform(),
            )
            continue
        if not np.isnan(row.ratio_low):
            axes.plot([1 / row.ratio_high, 1 / row.ratio_low], [y, y], color=style["color"], linewidth=1.6)
        axes.plot(1 / row.ratio, y, marker=style["marker"], color=style["color"], markersize=4.5, linestyle="")


def latencies(timing: pd.DataFrame, roofs: Sequence[Record], styles: Styles, title: str) -> Figure:
    """Time against size on log-log axes, a panel for each series (see ``drawing.series``) and pass.

    Where ``roofs`` have it, a dotted line is what one operation on one number takes. Series and passes of which nothing
    was measured are not drawn, unless there is no other.
    """
    timing, rest = telling(timing, SERIES)
    measured = timing["status"] == "ok"
    lines = [rows for rows in series(timing) if measured[rows.index].any()] or series(timing)
    passes = list(dict.fromkeys((timing[measured] if measured.any() else timing).sort_values("order")["pass"]))
    figure = Figure(figsize=(1.4 + 2.6 * len(passes), 0.9 + 2.1 * len(lines)))
    panels = figure.subplots(len(lines), len(passes), squeeze=False)
    floors = [_launch_floor(next(frames.rows_of(rows)), roofs) for rows in lines]
    for line, rows, floor in zip(panels, lines, floors, strict=True):
        for axes, passed in zip(line, passes, strict=True):
            axes.set_visible(bool((rows["pass"] == passed).any()))
            here = rows[(rows["pass"] == passed) & measured[rows.index]]
            for name, own in here.groupby("strategy", sort=False):
                _latency_line(axes, own, styles[str(name)], str(name))
            axes.set_xscale("log")
            axes.set_yscale("log")
            if len(here):
                sizes = here["dims"].map(frames.size)
                axes.set_xlim(sizes.min() / 1.5, sizes.max() * 1.5)
            low, high = axes.get_ylim()
            if floor < low < 30 * floor:
                low = floor / 1.3
            axes.set_ylim(min(low, high / 3), max(high, low * 3))
            if not math.isnan(floor):
                axes.axhline(floor, color=GREY, linewidth=0.9, linestyle=":")
            plain_ticks(axes.yaxis)
            plain_ticks(axes.xaxis)
            axes.set_title(pass_words(passed), loc="left")
            axes.set_xlabel(f"size ({size_name(rows)})")
        name = series_title(next(frames.rows_of(rows)))
        line[0].set_title(f"{name}\n{pass_words(passes[0])}", loc="left")
        line[0].set_ylabel("time for one call (µs)")
    handles, labels = legend(panels.flat)
    figure.legend(handles, labels, loc="outside right upper")
    known = sorted(f for f in floors if not math.isnan(f))
    between = " to ".join(dict.fromkeys(f"{f:.2g}" for f in (known[0], known[-1]))) if known else ""
    least = f"\none operation on one number: {between} µs, dotted where that is near" if known else ""
    head(figure, f"Time against size, {title}\nmedian over all rounds; {count(timing)}{least}{rest}")
    return figure


def _launch_floor(row: SimpleNamespace, roofs: Sequence[Record]) -> float:
    """µs of a call of one operation on one number, on a row's device and threads; NaN where that was not measured."""
    wanted = ("launch", row.device, row.threads)
    return 1e6 / next((r["per_second"] for r in roofs if (r["what"], r["device"], r["threads"]) == wanted), math.nan)


def _latency_line(axes: Axes, rows: pd.DataFrame, style: dict[str, Any], name: str) -> None:
    points = sorted((frames.size(row.dims), 1e6 * row.latency) for row in frames.rows_of(rows))
    x, y = zip(*points, strict=True)
    axes.plot(
        x,
        y,
        label=name,
        color=style["color"],
        marker=style["marker"],
        linestyle=style["dash"],
        markersize=4,
        linewidth=1.2,
    )


def memories(memory: pd.DataFrame, styles: Styles, title: str) -> Figure:
    """Bytes above parameters and inputs, bars from zero, a row for each group."""
    memory, rest = telling(memory)
    groups = list(memory.groupby(GROUP, sort=False))
    columns = {
        "saved": "saved for backward",
        "forward_peak": "peak of forward",
        "backward_peak": "peak of backward",
        **{name: title for name, title in frames.STEP_PEAKS.items() if name in memory},
    }
    names = list(dict.fromkeys(memory["strategy"]))
    figure = Figure(figsize=(1.2 + 1.9 * len(columns), 0.9 + len(groups) * (0.5 + 0.2 * len(names))))
    panels = figure.subplots(len(groups), len(columns), squeeze=False, sharey=True, sharex="row")
    for line, (_, rows) in zip(panels, groups, strict=True):
        largest = float(rows[list(columns)].to_numpy().max())
        unit, divisor = ("MiB", 2**20) if largest >= 2**20 else ("KiB", 2**10)
        for axes, (column, what) in zip(line, columns.items(), strict=True):
            for row in frames.rows_of(rows):
                value = getattr(row, column) / divisor
                y = names.index(row.strategy)
                axes.barh(y, value, color=styles[row.strategy]["color"], height=0.7)
                axes.text(value, y, f" {value:.4g}", va="center", fontsize=6.5, in_layout=False)
            if column == "backward_peak":
                axes.axvline(rows["least"].min() / divisor, color="black", linewidth=0.9, linestyle=":")
            axes.set_title(what, loc="left")
            axes.set_xlabel(unit)
            axes.set_xlim(0, 1.35 * largest / divisor)
        line[0].set_title(f"{group_title(next(frames.rows_of(rows)))}\n{columns['saved']}", loc="left")
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].set_ylim(len(names) - 0.5, -0.5)
    head(
        figure,
        f"Memory above parameters and inputs, {title}\n"
        f"exact bytes of torch's allocator, one call; dotted: output and gradients alone{rest}",
    )
    return figure


def _trainings(training: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """One frame for each layer × device × dtype, with a name: the layer's, and what sets it apart from the first."""
    seen: set[str] = set()
    for key, rows in training.groupby(["layer", "device", "dtype"], sort=False) if not training.empty else []:
        layer, device, dtype = map(str, key)
        yield layer if layer not in seen else f"{layer}-{device}-{dtype}", rows
        seen.add(layer)


def curves(training: pd.DataFrame, styles: Styles, title: str) -> Figure:
    """Loss against step with the naive forecast and the target; below, the distance from the float64 oracle's curve."""
    figure = Figure(figsize=(5.6, 5.0))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    first = next(frames.rows_of(training))
    for i, row in enumerate(frames.rows_of(training)):
        style = styles[row.strategy]
        losses, oracle = np.asarray(row.losses, dtype=float), np.asarray(row.oracle_losses, dtype=float)
        look = {"color": style["color"], "linestyle": style["dash"], "marker": style["marker"], "markersize": 3.5,
                "markevery": (i, 8), "linewidth": 1.1}  # fmt: skip
        upper.plot(losses, label=row.strategy, **look)
        lower.plot(np.maximum(np.abs(losses / oracle - 1), 1e-9), **look)
    upper.axhline(first.naive_loss, color=GREY, linewidth=0.9, linestyle="--")
    upper.annotate(
        f"naive forecast: {first.task_naive}",
        (first.steps, first.naive_loss),
        ha="right",
        va="bottom",
        fontsize=7,
        color=GREY,
    )
    upper.axhline(first.target_loss, color=GREY, linewidth=0.9, linestyle=":")
    upper.annotate("target", (0, first.target_loss), ha="left", va="top", fontsize=7, color=GREY)
    upper.set_yscale("log")
    plain_ticks(upper.yaxis)
    upper.set_ylabel("loss")
    lower.set_yscale("log")
    plain_ticks(lower.yaxis)
    lower.set_ylabel("|loss ÷ oracle − 1|")
    lower.set_xlabel("step")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    upper.legend(loc="center right", ncols=2)  # the naive forecast is named at the top, or below the middle
    where = f"{first.dtype} · {first.device} · {first.steps} steps of SGD"
    starts = "–".join(str(n) for n in dict.fromkeys((training["starts"].min(), training["starts"].max())))
    head(figure, f"Training, {title}\n{first.task_title}\n{where} · {starts} starts checked, the first is drawn")
    return figure
