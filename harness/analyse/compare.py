"""Two runs of the same groups, before and after a change: has a strategy become faster or slower?

Absolute times of one code differ by 8 to 15 % from launch to launch, so they say little of two runs. Each run's ratio
to its own baseline does not: the change of a case is the difference of the two mean log-ratios, with Welch's interval
over launches (Welch 1947), simultaneous over the strategies of a group. It is a change of the strategy only where the
baseline is the same code in both: where that is another strategy, its source has changed or it ran on another PyTorch,
the change is not known, and there is no figure and no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, variance
from types import SimpleNamespace
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from harness.analyse.doubts import doubt
from harness.analyse.frames import WAIVED, rows_of, timing
from harness.analyse.launches import CASE, baseline_of, definition, log_ratios
from harness.analyse.statistics import FEWEST_LAUNCHES, Interval, margin, verdict
from harness.records.store import Run

COLUMNS = [
    *CASE, "verdict", "change", "change_low", "change_high", "margin", "before", "after", "launches_before",
    "launches_after", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One row for each case of either run, and what else differs between the runs.

    ``rows``: the case; ``verdict`` (``faster``, ``slower``, ``tie``, ``inconclusive``; ``unknown`` where the baseline
    is not the same code, ``missing`` where a run has no such case, or ``waived: …`` where either run has no verdict);
    ``change`` and its interval (ratio after ÷ ratio before; below 1 is faster); ``margin`` of the tie band; the
    latencies; ``reason``.
    """

    rows: pd.DataFrame
    notes: tuple[str, ...]


def compare(before: Run, after: Run) -> Comparison:
    """Compare two runs case by case."""
    first, second = _measured(before), _measured(after)
    ratios = (log_ratios(before), log_ratios(after))
    rows = []
    for case in dict.fromkeys([*first, *second]):
        if case not in first or case not in second:
            missing = "before" if case not in first else "after"
            rows.append([*case, "missing", *[math.nan] * 6, 0, 0, f"not measured in the run {missing}"])
            continue
        a, b = first[case], second[case]
        group = case[:-1]
        same = sum(1 for c in first if c[:-1] == group and c in second) - 1
        if a.verdict == "baseline" and b.verdict == "baseline":
            continue
        if why := doubt(a.flags) or doubt(b.flags):
            rows.append([*case, "missing", *[math.nan] * 6, 0, 0, why])
            continue
        one, other = (list(r.get(case, {}).values()) for r in ratios)
        why = incomparable(before, after, case[0], case[5])
        if why or not one or not other:
            why = why or f"there is no ratio to the baseline in the run {'after' if one else 'before'}"
            rows.append([*case, "unknown", *[math.nan] * 4, a.latency, b.latency, len(one), len(other), why])
            continue
        band = max(x for x in (a.margin, b.margin, math.expm1(margin(case[3], None))) if not math.isnan(x))
        found = welch(one, other, max(1, same))
        word = verdict(found, math.log1p(band))
        word = next((r.verdict for r in (a, b) if r.verdict.startswith(WAIVED)), word)
        change = [math.exp(x) for x in (found.theta, found.low, found.high)]
        reason = "" if found.known else f"an interval needs {FEWEST_LAUNCHES} launches in each run"
        rows.append([*case, word, *change, band, a.latency, b.latency, len(one), len(other), reason])
    return Comparison(pd.DataFrame(rows, columns=COLUMNS), tuple(_notes(before, after)))


def incomparable(before: Run, after: Run, layer: str, passed: str) -> str:
    """Why ratios of two runs say nothing of a change of the strategy; ``""`` where they do."""
    (one, source), (other, changed) = baseline_of(before, layer), baseline_of(after, layer)
    what = f"the baseline of {layer}"
    if one != other:
        return f"{what} is {one} before and {other} after, so the ratios are to different things"
    if source != changed:
        return f"{what}, {one}, has another source, so the change may be its own"
    versions = [run.of("run")[0].get("stack", {}).get("torch") for run in (before, after)]
    if versions[0] != versions[1]:
        return f"{what}, {one}, ran on torch {versions[0]} before and {versions[1]} after, so the change may be its own"
    words = [definition(run, layer, passed) for run in (before, after)]
    return "" if words[0] == words[1] else f"{passed} was another thing before ({words[0]}; after: {words[1]})"


def _measured(run: Run) -> dict[tuple[Any, ...], SimpleNamespace]:
    frame = timing(run)
    found = frame[frame["status"] == "ok"]
    return {tuple(getattr(r, "passed" if c == "pass" else c) for c in CASE): r for r in rows_of(found)}


def welch(before: list[float], after: list[float], comparisons: int) -> Interval:
    """Interval of mean(after) − mean(before), of log-ratios by launch; unknown below five launches in either."""
    theta, n, m = fmean(after) - fmean(before), len(before), len(after)
    if min(n, m) < FEWEST_LAUNCHES:
        return Interval(theta, math.nan, math.nan, min(n, m))
    a, b = variance(before) / n, variance(after) / m
    if a + b == 0:
        return Interval(theta, theta, theta, min(n, m))
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    half = float(stdtrit(freedom, 1 - 0.025 / comparisons)) * math.sqrt(a + b)
    return Interval(theta, theta - half, theta + half, min(n, m))


def _notes(before: Run, after: Run) -> list[str]:
    first, second = before.of("run")[0], after.of("run")[0]
    notes = []
    for what in sorted(first.get("stack", {}).keys() | second.get("stack", {}).keys()):
        one, other = first["stack"].get(what), second["stack"].get(what)
        if one != other:
            notes.append(f"another {what}: {one} before, {other} after")
    baselines = first["baselines"]
    for name in sorted(first.get("digests", {}).keys() & second.get("digests", {}).keys()):
        if first["digests"][name] != second["digests"][name]:
            layer, _, strategy = name.partition("/")
            told = " (the baseline: no change is known)" if baselines.get(layer) == strategy else ""
            notes.append(f"changed source: {name}{told}")
    for layer, name in baselines.items():
        if second["baselines"].get(layer, name) != name:
            notes.append(f"another baseline of {layer}: {name} before, {second['baselines'][layer]} after")
    return notes
