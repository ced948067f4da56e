"""What a strategy costs beside its time: bytes, and the first call with its compilation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

import pandas as pd

from harness.analyse import frames
from harness.analyse.launches import GROUP

OF_PASS = {
    "forward": ("forward_peak",),
    "inference": ("forward_peak",),
    "backward": ("backward_peak",),
    "forward_backward": ("forward_peak", "backward_peak"),
    "step": ("step_peak",),
    "step_with_loss": ("step_with_loss_peak",),
}
"""The columns of the memory frame whose highest is what a pass needs, above parameters and inputs; of other passes
nothing is known."""


FIRST_CALL = "forward_backward"
"""The pass that a first call is of, so the one whose calls earn it."""


@dataclass(frozen=True)
class FirstCall:
    """Seconds of the cold first forward and backward of a process, and the size that it was measured at."""

    seconds: float
    dims: str


def held(memory: pd.DataFrame, key: tuple[object, ...]) -> dict[str, float]:
    """Bytes that a pass needs above parameters and inputs, by strategy.

    Args:
        memory: the frame of that name.
        key: layer, dims, dtype, device, threads, pass. Bytes don't depend on the number of threads: where this
            one's were not measured, another's count.
    """
    layer, dims, dtype, device, threads, passed = key
    columns = OF_PASS.get(str(passed), ())
    own = memory[
        (memory["layer"] == layer)
        & (memory["dims"] == dims)
        & (memory["dtype"] == dtype)
        & (memory["device"] == device)
        & (memory["reason"] == "")
    ]
    found: dict[str, float] = {}
    nearest = own.iloc[(own["threads"] != threads).argsort(kind="stable")]
    for name, *each in nearest.reindex(columns=["strategy", *columns]).itertuples(index=False):
        bytes_ = max(map(float, each), default=math.nan)
        if not math.isnan(bytes_):
            found.setdefault(str(name), bytes_)
    return found


def first_calls(frame: pd.DataFrame, layer: str, device: str, dims: str, dtype: str) -> dict[str, FirstCall]:
    """The cold first call of each strategy: at this size and dtype, or where else the run has measured one.

    Args:
        frame: the frame of first calls.
    """
    frame = frame[(frame["layer"] == layer) & (frame["device"] == device) & frame["cold"].notna()]
    far = (frame["dims"] != dims).astype(int) + (frame["dtype"] != dtype).astype(int)
    found: dict[str, FirstCall] = {}
    for row in frame.iloc[far.argsort(kind="stable")].to_dict("records"):
        found.setdefault(str(row["strategy"]), FirstCall(float(row["cold"]), f"{row['dims']} {row['dtype']}"))
    return found


def break_even(first: float, latency: float, other_first: float, other_latency: float) -> float:
    """Calls after which a strategy with the dearer first call has caught up with another; infinite where it never does.

    Args:
        first: seconds of its first call, ``latency``: of each later one; then the other's.
    """
    if first <= other_first:
        return 1.0
    if latency >= other_latency:
        return math.inf
    return 1 + (first - other_first) / (other_latency - latency)


def earning(timing: pd.DataFrame) -> pd.DataFrame:
    """The measured rows whose calls earn a first call; where there are none of its pass, all measured rows."""
    measured = timing[timing["status"] == "ok"]
    same = measured[measured["pass"] == FIRST_CALL]
    return measured if same.empty else same


def break_evens(timing: pd.DataFrame, cold: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """One row for each group × strategy: its first call beside the baseline's, and when it is earned.

    By calls of the pass that a first call is of; in a run that has not timed it, of each of its passes.

    Columns: the case; ``first`` and ``baseline_first`` (seconds, cold); ``measured_at`` (the size and dtype of these);
    ``gain`` (seconds a call, negative where it is slower); ``calls``, ``calls_low``, ``calls_high`` (by the interval
    of the ratio; infinite: never).
    """
    rows, first_at = [], cache(partial(first_calls, cold))
    for key, group in earning(timing).groupby([*GROUP, "pass"], sort=False):
        layer, dims, dtype, device = (str(part) for part in key[:4])
        first = first_at(layer, device, dims, dtype)
        base = group[group["strategy"] == baselines[layer]]
        if base.empty or baselines[layer] not in first:
            continue
        time, start = float(base["latency"].iloc[0]), first[baselines[layer]].seconds
        for row in frames.rows_of(group):
            if row.strategy == baselines[layer] or row.strategy not in first or math.isnan(row.ratio):
                continue
            own = first[row.strategy]
            low, middle, high = (
                math.nan if math.isnan(r) else break_even(own.seconds, r * time, start, time)
                for r in (row.ratio_low, row.ratio, row.ratio_high)
            )
            gain = time * (1 - row.ratio)
            rows.append([*key, row.strategy, own.seconds, start, own.dims, gain, middle, low, high])
    columns = ["first", "baseline_first", "measured_at", "gain", "calls", "calls_low", "calls_high"]
    return pd.DataFrame(rows, columns=[*GROUP, "pass", "strategy", *columns])
