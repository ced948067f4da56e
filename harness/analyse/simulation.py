"""What the intervals and verdicts do on samples whose truth is known: coverage, and the power to find a slow-down.

A launch's D is drawn as the true log-ratio, plus a normal deviation of the launch, plus the median of normal
deviations of its rounds; or it is resampled from launches of identical code that were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from harness.analyse.statistics import SMALLEST_MARGIN, Interval, interval, verdict

LAUNCH_SD, ROUND_SD, ROUNDS = 0.01, 0.03, 11
LAUNCHES, MORE_LAUNCHES = 8, 4
BAND = SMALLEST_MARGIN["cpu"]

Noise = Callable[[int], np.ndarray]
"""Deviations of so many launches from the true log-ratio."""


def normal_noise(rng: np.random.Generator, launch_sd: float = LAUNCH_SD, round_sd: float = ROUND_SD) -> Noise:
    """Launches and rounds that deviate normally."""

    def draw(launches: int) -> np.ndarray:
        rounds = rng.normal(0.0, round_sd, (launches, ROUNDS))
        return rng.normal(0.0, launch_sd, launches) + np.median(rounds, axis=1)

    return draw


def recorded_noise(rng: np.random.Generator, log_ratios: Sequence[float]) -> Noise:
    """Launches as recorded on identical code, drawn with replacement."""
    return lambda launches: rng.choice(np.asarray(log_ratios), launches)


def look(noise: Noise, truth: float, comparisons: int, looks: int) -> Interval:
    """The interval that a comparison ends with: a second look only at what the first leaves inconclusive."""
    launches = truth + noise(LAUNCHES)
    found = interval(launches.tolist(), comparisons, looks)
    if looks == 2 and verdict(found, BAND) == "inconclusive":
        launches = np.concatenate([launches, truth + noise(MORE_LAUNCHES)])
        found = interval(launches.tolist(), comparisons, looks)
    return found


def coverage(noise: Noise, ratios: Sequence[float], looks: int, trials: int) -> float:
    """Share of trials in which the intervals of all strategies of a group hold their true ratios."""

    def joint() -> bool:
        for ratio in ratios:
            found = look(noise, math.log(ratio), len(ratios), looks)
            if not found.low <= math.log(ratio) <= found.high:
                return False
        return True

    return sum(joint() for _ in range(trials)) / trials


def power(noise: Noise, ratio: float, comparisons: int, trials: int) -> float:
    """Share of trials in which a slow-down by a ratio is called ``slower`` at the first and only look."""
    words = (verdict(look(noise, math.log(ratio), comparisons, 1), BAND) for _ in range(trials))
    return sum(word == "slower" for word in words) / trials
