"""Whether a strategy takes at most so much of its baseline's time: an upper limit to a ratio of times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

from harness.analyse.doubts import doubt
from harness.analyse.frames import NOT_MEASURED, rows_of, timing
from harness.analyse.gate import UNTOLD
from harness.analyse.launches import CASE
from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.records.schema import Group
from harness.records.store import Run

Word = Literal["held", "failed", "inconclusive", "not_testable", "error"]


@dataclass(frozen=True)
class Limited:
    """One group × pass.

    Attributes:
        ratio, low, high: the strategy's time over its baseline's, with the interval; NaN where there is none.
        band: half-width of the tie band, as a ratio − 1.
        verdict: see ``judge``; ``not_testable`` where one of the two cannot run here, ``error`` where it fails to.
        why: in words, where the numbers don't say it.
    """

    group: Group
    passed: str
    ratio: float
    low: float
    high: float
    band: float
    launches: int
    verdict: Word
    why: str = ""


def judge(low: float, high: float, limit: float, band: float) -> Literal["held", "failed", "inconclusive"]:
    """``held`` where the whole interval is below the limit, ``failed`` where it is all above.

    Above means also outside the tie band: where identical code differs by more than the limit allows, nobody failed.
    """
    if high <= limit:
        return "held"
    return "failed" if low > max(limit, 1 + band) else "inconclusive"


def limited(run: Run, strategy: str, limit: float) -> list[Limited]:
    """Judge a strategy in every group and pass of a run against that run's baseline."""
    frame, baselines = timing(run), run.of("run")[0]["baselines"]
    rows = {tuple(getattr(r, "passed" if c == "pass" else c) for c in CASE): r for r in rows_of(frame)}
    return [
        _limited(row, rows.get((*case[:-1], baselines[row.layer])), limit)
        for case, row in rows.items()
        if row.strategy == strategy
    ]


def _limited(row: SimpleNamespace, base: SimpleNamespace | None, limit: float) -> Limited:
    group = Group(row.layer, row.dims, row.dtype, row.device, row.threads)
    lost = [each for each in (row, base) if each is not None and each.status != "ok"]
    if lost:
        cause = min(lost, key=lambda each: each.reason == NOT_MEASURED)  # one of the two may keep both from being timed
        why = f"{cause.strategy}: {str(cause.status).replace('_', ' ')}: {cause.reason}"
        return Limited(group, row.passed, math.nan, math.nan, math.nan, math.nan, 0, _word(cause), why)
    for each in (row, base):
        if each is not None and (why := doubt(each.flags)):
            why = f"{each.strategy}: {why}"
            return Limited(group, row.passed, math.nan, math.nan, math.nan, math.nan, 0, "not_testable", why)
    numbers = row.ratio, row.ratio_low, row.ratio_high
    if math.isnan(row.ratio_low):
        why = f"an interval needs {FEWEST_LAUNCHES} launches"
        return Limited(group, row.passed, *numbers, row.margin, row.launches, "inconclusive", why)
    word = judge(row.ratio_low, row.ratio_high, limit, row.margin)
    why = ""
    if word == "inconclusive":
        noisy = row.ratio_low > limit
        why = "identical code differs by as much here" if noisy else "more launches may tell"
    return Limited(group, row.passed, *numbers, row.margin, row.launches, word, why)


def _word(cause: SimpleNamespace) -> Word:
    if cause.status in UNTOLD and cause.reason != NOT_MEASURED:
        return "not_testable"
    return "failed" if cause.status == "wrong" else "error"
