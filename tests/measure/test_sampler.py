"""Sampling, with a clock that is a parameter: nothing here depends on real time."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.measure.clock import CpuClock, total
from harness.measure.passes import Call
from harness.measure.sampler import (
    FEWEST_ROUNDS,
    MOST_REDONE,
    MOST_ROUNDS,
    REWARM_CALLS,
    Arm,
    calibrate,
    sample,
    warm_up,
)
from harness.records.schema import SAMPLE_SECONDS


class FakeClock:
    """Every call takes the seconds that its ``run`` returns, in nanoseconds and singly."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, int]] = []

    def spans(self, call: Call, n: int) -> Sequence[float]:
        self.log.append((call, n))
        return [1e9 * call.run(call.prepare()) for _ in range(n)]


def _call(seconds: Callable[[], float]) -> Call:
    return Call(lambda: None, lambda _: seconds())


def _arms(n: int, seconds: float = 1e-3) -> list[Arm]:
    return [Arm(f"s{i}", False, _call(lambda: seconds)) for i in range(n)]


def test_a_sample_lasts_at_least_four_milliseconds() -> None:
    for one in (1e-6, 3e-4, 3.9e-3, 0.2):
        found, lasted = calibrate(Arm("s", False, _call(lambda one=one: one)), FakeClock())
        assert lasted == pytest.approx(found.calls * one)
        assert lasted >= SAMPLE_SECONDS * (1 - 1e-9)


def test_every_round_visits_every_arm_once_in_varying_order() -> None:
    found, _ = sample(_arms(4), FakeClock(), 10.0, random.Random(0), lambda arm: None)
    rounds = list(zip(*([t.order for t in s.samples] for s in found), strict=True))
    assert len(rounds) == MOST_ROUNDS
    assert all(sorted(r) == [0, 1, 2, 3] for r in rounds)
    assert len(set(rounds)) > 5


def test_the_order_is_the_seed_s() -> None:
    def orders(seed: int) -> list[list[int]]:
        series, _ = sample(_arms(3), FakeClock(), 1.0, random.Random(seed))
        return [[t.order for t in s.samples] for s in series]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


@pytest.mark.parametrize(
    ("seconds", "untimed", "calls"), [(1e-4, REWARM_CALLS, 40), (8e-4, 4, 5), (1.9e-3, 2, 3), (3e-3, 1, 2), (0.1, 1, 1)]
)
def test_each_sample_is_preceded_by_untimed_calls_of_the_same_arm(seconds: float, untimed: int, calls: int) -> None:
    clock = FakeClock()
    arms = _arms(2, seconds)
    found, _ = sample(arms, clock, 1.0, random.Random(0), lambda arm: None)
    tail = clock.log[-2 * 2 * len(found[0].seconds) :]
    for (warm, n_warm), (timed, n) in zip(tail[::2], tail[1::2], strict=True):
        assert warm is timed
        assert (n_warm, n) == (untimed, calls)


def test_slow_arms_get_the_fewest_rounds() -> None:
    found, _ = sample(_arms(3, 0.5), FakeClock(), 1.0, random.Random(0), lambda arm: None)
    assert len(found[0].seconds) == FEWEST_ROUNDS


class Hot:
    """A chip that is throttled in its 2nd to 4th round."""

    def __init__(self, throttled: set[int]) -> None:
        self.rounds, self._throttled = 0, throttled

    def read(self) -> dict[str, float]:
        self.rounds += 1
        return {"sm_mhz": 700.0 if self.rounds in self._throttled else 1900.0}

    def throttled(self, reading: dict[str, float]) -> bool:
        return reading["sm_mhz"] < 1000


def test_throttled_rounds_are_done_again_whole_and_counted() -> None:
    series, rounds = sample(_arms(2), FakeClock(), 1.0, random.Random(0), conditions=Hot({2, 3, 4}))
    assert rounds.redone == 3
    assert {r["sm_mhz"] for r in rounds.readings} == {1900.0}
    assert {len(s.samples) for s in series} == {len(rounds.readings)}


def test_a_chip_that_stays_throttled_is_measured_all_the_same_and_says_so() -> None:
    series, rounds = sample(_arms(2), FakeClock(), 1.0, random.Random(0), conditions=Hot(set(range(1000))))
    assert rounds.redone == MOST_REDONE  # of its first round: then it is how the chip runs
    assert len(series[0].samples) == len(rounds.readings) > 1
    assert {r["sm_mhz"] for r in rounds.readings} == {700.0}


def test_each_arm_is_announced_before_it_runs() -> None:
    announced: list[str] = []

    def fatal() -> float:
        assert announced[-1] == "s9"
        return 1e-3

    arms = [*_arms(2), Arm("s9", False, _call(fatal))]
    sample(arms, FakeClock(), 0.1, random.Random(0), lambda arm: announced.append(arm.strategy))


def test_a_call_that_settles_is_steady_and_one_that_drifts_is_not() -> None:
    drift = iter(x * 1e-3 for x in range(1, 10**6))
    assert warm_up(_call(lambda: 0.02), _RealTime())
    assert not warm_up(_call(lambda: next(drift)), _RealTime())


class _RealTime(FakeClock):
    """Fake seconds, but the warm-up's own loop sees real time pass."""

    def spans(self, call: Call, n: int) -> Sequence[float]:
        import time

        time.sleep(2e-3)
        return super().spans(call, n)


def test_the_cpu_clock_leaves_preparation_out() -> None:
    events: list[str] = []
    call = Call(lambda: events.append("prepare"), lambda _: events.append("run"))
    spans = CpuClock().spans(call, 3)
    assert len(spans) == 3
    assert min(spans) > 0
    assert events == ["prepare", "run"] * 3


@pytest.mark.parametrize("n", [1, 7])
def test_what_a_call_returns_is_let_go_after_the_clock_stops(n: int) -> None:
    alive: list[object] = []

    class Result:
        def __del__(self) -> None:
            alive.append(self)

    CpuClock().spans(Call(lambda: None, lambda _: Result()), n)
    assert len(alive) == n


def _ticking() -> Callable[[], float]:
    """A call that is interrupted for as long again at every seventh time."""
    number = iter(range(10**6))
    return lambda: 2e-4 if next(number) % 7 else 4e-4


def test_what_a_call_takes_is_not_moved_by_an_interruption_in_few_of_a_sample_and_the_sum_has_all() -> None:
    (one,), _ = sample([Arm("s", False, _call(_ticking()))], FakeClock(), 0.2, random.Random(0))
    assert one.call_seconds == pytest.approx([2e-4] * len(one.samples))
    assert sum(one.seconds) / (one.calls * len(one.samples)) == pytest.approx(2e-4 * 8 / 7, rel=0.02)


class Batches(FakeClock):
    """All calls of a sample in one span, as a device is timed."""

    def spans(self, call: Call, n: int) -> Sequence[float]:
        return [sum(super().spans(call, n))]


def test_a_call_of_a_batch_takes_its_share_of_it() -> None:
    (one,), _ = sample(_arms(1, 3e-4), Batches(), 0.1, random.Random(0))
    assert one.calls > 1
    assert one.call_seconds == pytest.approx([3e-4] * len(one.samples))
    assert total(Batches(), one.arm.call, 5) == pytest.approx(5 * 3e-4)
