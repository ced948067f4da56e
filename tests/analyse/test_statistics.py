"""Intervals cover, verdicts follow the interval and the band; on simulated launches, never on timing."""

import math

import numpy as np
import pytest

from harness.analyse.statistics import Interval, interval, margin, verdict

LAUNCH_SD, ROUND_SD, ROUNDS = 0.0122, 0.03, 21


def _launches(rng: np.random.Generator, ratio: float, launches: int, launch_sd: float = LAUNCH_SD) -> list[float]:
    """D[l] of a strategy: a launch effect, and the median of the noise of the rounds' log-ratios."""
    noise = rng.normal(0, ROUND_SD, (launches, ROUNDS))
    return list(math.log(ratio) + rng.normal(0, launch_sd, launches) + np.median(noise, axis=1))


@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.05])
def test_one_comparison_covers_95_percent(ratio: float) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        found = interval(_launches(rng, ratio, 8), comparisons=1)
        hits += found.low <= math.log(ratio) <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


def test_five_comparisons_with_a_common_baseline_cover_jointly() -> None:
    rng = np.random.default_rng(2)
    ratios = np.log([0.9, 0.95, 1.0, 1.05, 1.1])
    trials, joint = 4000, 0
    for _ in range(trials):
        # each arm has its own launch and round effects, and all are divided by the same baseline
        arms = rng.normal(0, LAUNCH_SD / math.sqrt(2), (6, 8, 1)) + rng.normal(
            0, ROUND_SD / math.sqrt(2), (6, 8, ROUNDS)
        )
        differences = np.median(arms[1:] - arms[0], axis=2) + ratios[:, None]
        found = [interval(list(d), 5) for d in differences]
        joint += all(f.low <= r <= f.high for f, r in zip(found, ratios, strict=True))
    assert joint / trials >= 0.95


def test_a_slow_down_of_5_percent_is_found_and_identical_code_is_never_called_different() -> None:
    """With the spread between launches that re-warm calls leave (0.61 %, half of what it is without them)."""
    rng = np.random.default_rng(3)
    found = [verdict(interval(_launches(rng, 1.05, 8, LAUNCH_SD / 2), 5), math.log(1.02)) for _ in range(1000)]
    assert found.count("slower") >= 950
    same = [verdict(interval(_launches(rng, 1.0, 8, LAUNCH_SD / 2), 5), math.log(1.02)) for _ in range(1000)]
    assert same.count("slower") + same.count("faster") == 0


def test_fewer_than_five_launches_give_no_interval() -> None:
    found = interval([0.5, 0.5, 0.5, 0.5], 1)
    assert not found.known
    assert found.theta == 0.5
    assert verdict(found, 0.02) == "inconclusive"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.10, -0.05, "faster"),
        (0.05, 0.10, "slower"),
        (-0.01, 0.01, "tie"),
        (-0.03, 0.01, "inconclusive"),
        (0.01, 0.05, "inconclusive"),
        (-0.5, 0.5, "inconclusive"),
    ],
)
def test_the_verdict_follows_the_whole_interval(low: float, high: float, word: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 8), 0.02) == word


def test_the_margin_grows_with_measured_noise() -> None:
    assert margin("cpu", None) == pytest.approx(math.log(1.02))
    assert margin("cuda", None) == pytest.approx(math.log(1.01))
    assert margin("cpu", Interval(0.0, -0.05, 0.03, 8)) == pytest.approx(0.05)
    assert margin("cpu", Interval(0.0, math.nan, math.nan, 2)) == pytest.approx(math.log(1.02))
