"""How noisy a run was: the baseline against itself, and how much samples spread within and between launches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean

import numpy as np
import pandas as pd

from harness.analyse.launches import GROUP, Arms, Launches, differences
from harness.analyse.statistics import interval, margin
from harness.records.store import Run

COLUMNS = [
    *GROUP, "pass", "ratio", "ratio_low", "ratio_high", "margin", "within", "between", "launches", "noisy",
]  # fmt: skip


def noise(run: Run, measured: Arms) -> pd.DataFrame:
    """One row for each measured group × pass; ``measured`` is ``launches_of(run)``.

    Columns: ``ratio``, ``ratio_low``, ``ratio_high`` (the baseline's second arm over its first); ``margin`` (the tie
    band's half-width that follows); ``within`` (median absolute deviation of the baseline's samples from their launch's
    median, as a share); ``between`` (standard deviation of the launches' medians, as a share); ``launches``; ``noisy``
    (share of the arms × launches that carry a flag).
    """
    rows = []
    for key, first, second, arms in _baselines(run, measured):
        logs = list(differences(second, first).values())
        found = interval(logs, 1) if logs else None
        logs = [math.log(s.median) for s in first.values()]
        deviations = [float(np.median(np.abs(s.seconds / s.median - 1))) for s in first.values()]
        flags = [bool(s.flags) for launches in arms.values() for s in launches.values()]
        ratios = [math.nan] * 3 if found is None else [math.exp(x) for x in (found.theta, found.low, found.high)]
        band = math.expm1(margin(str(key[3]), found))
        between = float(np.std(logs, ddof=1)) if len(logs) > 1 else math.nan
        rows.append([*key, *ratios, band, fmean(deviations), between, len(first), fmean(flags)])
    return pd.DataFrame(rows, columns=COLUMNS)


def in_order(run: Run, measured: Arms) -> pd.DataFrame:
    """The baseline's samples in the order in which they were taken, each over the median of its group × pass.

    Columns: group, pass, ``launch``, ``sample`` (number in the launch), ``share``.
    """
    frames_ = []
    for key, first, _, _ in _baselines(run, measured):
        middle = float(np.median(np.concatenate([s.seconds for s in first.values()])))
        for launch, samples in sorted(first.items()):
            n = len(samples.seconds)
            case = dict(zip([*GROUP, "pass"], key, strict=True))
            own = {"launch": launch, "sample": range(n), "share": samples.seconds / middle}
            frames_.append(pd.DataFrame({**case, **own}))
    columns = [*GROUP, "pass", "launch", "sample", "share"]
    return pd.concat(frames_)[columns] if frames_ else pd.DataFrame(columns=columns)


def _baselines(
    run: Run,
    measured: Arms,
) -> Iterator[tuple[tuple[object, ...], Launches, Launches, dict[tuple[str, bool], Launches]]]:
    baselines = run.of("run")[0]["baselines"]
    for key, arms in measured.items():
        name = baselines.get(key[0], "")
        if first := arms.get((name, False), {}):
            yield key, first, arms.get((name, True), {}), arms
