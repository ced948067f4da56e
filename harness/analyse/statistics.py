"""Intervals and verdicts for paired samples.

Within a launch l and round r a strategy s and the baseline b meet; d[l,r] = ln(t_s / t_b), D[l] = median over r,
theta = mean over l. Launches are independent, rounds within a launch are not, so the interval is Student's t over
launches:

    theta ± t(1 − a, L − 1) · SD(D) / √L,     a = 0.025 / (comparisons in the group) / looks

which by Bonferroni's inequality holds for all strategies of a group and all looks together with 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from scipy.special import stdtrit

FEWEST_LAUNCHES = 5
"""Fewer launches than this give no interval."""

SMALLEST_MARGIN = {"cpu": math.log(1.02), "cuda": math.log(1.01)}
"""Differences below these are nobody's reason to choose: 2 % on a CPU, 1 % on a GPU."""

Verdict = Literal["faster", "slower", "tie", "inconclusive"]


@dataclass(frozen=True)
class Interval:
    """Log-ratio of times, strategy over baseline; ``low`` and ``high`` are NaN below five launches."""

    theta: float
    low: float
    high: float
    launches: int

    @property
    def known(self) -> bool:
        """Whether there are enough launches for an interval."""
        return not math.isnan(self.low)


def interval(log_ratios: Sequence[float], comparisons: int, looks: int = 1) -> Interval:
    """The interval of one strategy.

    Args:
        log_ratios: D[l], one for each launch; at least one.
        comparisons: strategies of the group that are compared with the baseline (not counting the baseline itself).
        looks: how often the data are looked at, planned.
    """
    n, theta = len(log_ratios), fmean(log_ratios)
    if n < FEWEST_LAUNCHES:
        return Interval(theta, math.nan, math.nan, n)
    quantile = float(stdtrit(n - 1, 1 - 0.025 / max(1, comparisons) / looks))
    spread = math.sqrt(math.fsum((d - theta) ** 2 for d in log_ratios) / (n - 1))
    half = quantile * spread / math.sqrt(n)
    return Interval(theta, theta - half, theta + half, n)


def margin(device: str, noise: Interval | None) -> float:
    """Half-width of the tie band, in log-ratio: 2 % (CPU) or 1 % (GPU), or what identical code differs by."""
    smallest = SMALLEST_MARGIN.get(device, SMALLEST_MARGIN["cpu"])
    if noise is None or not noise.known:
        return smallest
    return max(smallest, abs(noise.low), abs(noise.high))


def verdict(found: Interval, band: float) -> Verdict:
    """``faster`` or ``slower`` when the whole interval is outside the band, ``tie`` when it is wholly inside."""
    if not found.known:
        return "inconclusive"
    if found.high < -band:
        return "faster"
    if found.low > band:
        return "slower"
    if -band <= found.low and found.high <= band:
        return "tie"
    return "inconclusive"
