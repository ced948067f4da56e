"""Comparisons of all pairs hold together, and a ranking needs no luck; on simulated launches, never on timing."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.pairs import Comparison, Contest, between, by_time, by_total, rank
from tests.analyse.recorded import SIZES, have


def _contest(logs: dict[str, np.ndarray]) -> Contest:
    numbered = {name: dict(enumerate(values)) for name, values in logs.items()}
    paired = {
        (a, b): {i: float(x - numbered[b][i]) for i, x in own.items()}
        for a, own in numbered.items()
        for b in numbered
        if a != b
    }
    seconds = {name: {i: math.exp(x) for i, x in own.items()} for name, own in numbered.items()}
    return Contest(seconds, paired, math.log(1.02), len(logs) * (len(logs) - 1) // 2)


def test_identical_strategies_are_hardly_ever_called_different() -> None:
    """The fastest of five equal ones is the luckiest: a comparison with it must allow for the choice."""
    rng = np.random.default_rng(1)
    names = ["a", "b", "c", "d", "e"]
    wrong = 0
    for _ in range(400):
        contest = _contest({name: rng.normal(-9, 0.02, 8) for name in names})
        ranking = rank(names, by_time(contest), 0.0)
        wrong += any(
            found.low > 1 for found in (by_time(contest)(n, ranking.cheapest) for n in names if n != ranking.cheapest)
        )
    assert wrong / 400 <= 0.05


def test_the_interval_of_a_total_covers_it() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        contest = _contest({"a": rng.normal(math.log(2e-3), 0.01, 8), "b": rng.normal(math.log(1e-3), 0.01, 8)})
        first = {"a": 0.5 * rng.uniform(0.8, 1.25), "b": 4.0 * rng.uniform(0.8, 1.25)}
        found = by_total(contest, first, 5001)("a", "b")
        hits += found.low <= (0.5 + 5000 * 2e-3) / (4.0 + 5000 * 1e-3) <= found.high
    assert hits / 400 >= 0.95


def test_between_two_sizes_is_log_linear() -> None:
    lower = _contest({"a": np.log(np.full(8, 1e-5)), "b": np.log(np.full(8, 2e-5))})
    upper = _contest({"a": np.log(np.full(8, 1e-3)), "c": np.log(np.full(8, 1e-3))})
    found = between(lower, upper, 0.5)
    assert list(found.seconds) == ["a"]
    assert list(found.seconds["a"].values()) == [pytest.approx(1e-4)] * 8
    assert found.paired == {}


def _table(**costs: tuple[float, float, float, str]) -> Any:
    """Comparisons with the simple one: ratio, low, high, verdict; and the reverse."""

    def compare(a: str, b: str) -> Comparison:
        if b == "simple":
            return Comparison(*costs[a])
        ratio, low, high, word = costs[b]
        turned = {"faster": "slower", "slower": "faster"}.get(word, word)
        return Comparison(1 / ratio, 1 / high, 1 / low, turned)

    return compare


@pytest.mark.parametrize(
    ("other", "pick", "confidence"),
    [
        ((1.03, 1.005, 1.05, "inconclusive"), "simple", "tie"),  # cannot be faster, and is less simple
        ((1.01, 0.95, 1.07, "inconclusive"), "simple", "unsettled"),  # may be faster by 5 %
        ((0.97, 0.95, 0.995, "inconclusive"), "other", "unsettled"),  # the simple one may yet tie with it
        ((0.99, 0.985, 0.995, "tie"), "simple", "tie"),
        ((0.9, 0.88, 0.92, "faster"), "other", "clear"),
        ((1.1, 1.08, 1.12, "slower"), "simple", "clear"),
        ((0.9, math.nan, math.nan, "inconclusive"), "other", "unsettled"),  # too few launches
    ],
)
def test_what_is_settled_is_what_can_change_the_pick(other: Any, pick: str, confidence: str) -> None:
    ranking = rank(["simple", "other"], _table(other=other), math.log(1.02))
    assert (ranking.pick, ranking.confidence) == (pick, confidence)


def test_one_alone_has_nothing_to_be_compared_with() -> None:
    assert rank(["a"], _table(), 0.02).confidence == "only"


def test_intervals_hold_for_all_pairs_of_what_was_measured(tmp_path: Path) -> None:
    found = have(tmp_path, {SIZES[0]: {"plain": 1e-5, "shelf": 2e-5, "made": 3e-5, "hand": 4e-5}})
    assert {contest.comparisons for contest in found.contests.values()} == {6}
