"""At most so much of another's time: shown, refuted, or neither; from samples with a known answer."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.limit import judge, limited
from harness.records.schema import CaseStatus
from tests.analyse.made_up import GROUP, header, run_of, strategy, write


@pytest.mark.parametrize(
    ("low", "high", "limit", "band", "word"),
    [
        (0.98, 1.02, 1.05, 0.02, "held"),
        (0.98, 1.05, 1.05, 0.02, "held"),
        (0.98, 1.06, 1.05, 0.02, "inconclusive"),
        (1.06, 1.10, 1.05, 0.02, "failed"),
        (1.05, 1.10, 1.05, 0.02, "inconclusive"),
        (1.06, 1.10, 1.05, 0.08, "inconclusive"),
        (1.09, 1.20, 1.05, 0.08, "failed"),
        (1.005, 1.015, 1.00, 0.02, "inconclusive"),
        (0.90, 1.00, 1.00, 0.02, "held"),
    ],
)
def test_the_whole_interval_must_be_on_one_side(low: float, high: float, limit: float, band: float, word: str) -> None:
    assert judge(low, high, limit, band) == word


@pytest.mark.parametrize(("seconds", "word"), [(1e-3, "held"), (0.5e-3, "held"), (1.2e-3, "failed")])
def test_a_strategy_is_judged_against_the_run_s_baseline(tmp_path: Path, seconds: float, word: str) -> None:
    (one,) = limited(run_of(tmp_path, {"autograd": 1e-3, "fast": seconds}), "fast", 1.05)
    assert (one.group, one.passed, one.launches, one.verdict, one.why) == (GROUP, "forward", 8, word, "")
    assert one.low < one.ratio < one.high
    assert one.ratio == pytest.approx(seconds / 1e-3, rel=0.02)


def test_what_lies_at_the_limit_is_inconclusive(tmp_path: Path) -> None:
    (one,) = limited(run_of(tmp_path, {"autograd": 1e-3, "fast": 1.05e-3}), "fast", 1.05)
    assert (one.verdict, one.why) == ("inconclusive", "more launches may tell")


def test_too_few_launches_tell_nothing(tmp_path: Path) -> None:
    (one,) = limited(run_of(tmp_path, {"autograd": 1e-3, "fast": 3e-3}, launches=4), "fast", 1.05)
    assert (one.verdict, one.why) == ("inconclusive", "an interval needs 5 launches")
    assert math.isnan(one.low)


@pytest.mark.parametrize(
    ("culprit", "status", "word"),
    [
        ("fast", "skipped", "not_testable"),
        ("fast", "unsupported", "not_testable"),
        ("autograd", "unsupported", "not_testable"),
        ("fast", "wrong", "failed"),
        ("fast", "crashed", "error"),
        ("autograd", "oom", "error"),
    ],
)
def test_what_was_not_timed_says_why(tmp_path: Path, culprit: str, status: Any, word: str) -> None:
    g = GROUP
    lost = CaseStatus(g.layer, culprit, status, "a reason", "time", g.dims, g.dtype, g.device, g.threads)
    run = write(tmp_path, strategy("autograd"), strategy("fast"), lost, head=header())
    frame = {one.why: one.verdict for one in limited(run, "fast", 1.05)}
    assert frame == {f"{culprit}: {status}: a reason": word}


def test_a_run_that_ended_too_soon_is_an_error(tmp_path: Path) -> None:
    (one,) = limited(write(tmp_path, strategy("autograd"), strategy("fast")), "fast", 1.05)
    assert (one.verdict, one.why) == ("error", "fast: skipped: the run ended before it was measured")
