"""Paired rounds: each round visits every arm once, in random order, so that what disturbs one disturbs all.

A sample is two untimed calls (they undo what the arm before left in the caches: without them the second of a pair
was 1.35 % slower) and then n timed calls; n is set once per launch so that a sample lasts at least 5 ms.
"""

from __future__ import annotations

import gc
import math
import random
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from harness.measure.clock import Clock
from harness.measure.passes import Call

REWARM_CALLS = 2
SAMPLE_SECONDS = 5e-3
WARM_UP_SECONDS, WARM_UP_CALLS, WARM_UP_LIMIT = 0.3, 20, 3.0
STEADY_WITHIN = 0.1
MOST_ROUNDS, FEWEST_ROUNDS = 21, 7


@dataclass(frozen=True)
class Arm:
    """One thing to be timed; ``again`` marks the baseline's second arm, the baseline against itself."""

    strategy: str
    again: bool
    call: Call


@dataclass
class Series:
    """The samples of an arm, one entry a round: seconds for ``calls`` calls, position in the round, minor page faults,
    involuntary context switches, CPU seconds of the whole sample (re-warm calls included), and its wall seconds."""

    arm: Arm
    calls: int
    seconds: list[float] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)


def warm_up(call: Call, clock: Clock) -> bool:
    """Call for 0.3 s and 20 times (3 s at most); whether the last two windows of calls agree within 10 %.

    A case that has not settled is marked, never given more time in silence.
    """
    times: list[float] = []
    started = time.perf_counter()
    while (spent := time.perf_counter() - started) < WARM_UP_LIMIT and (
        spent < WARM_UP_SECONDS or len(times) < WARM_UP_CALLS
    ):
        times.append(clock.seconds(call, 1))
    window = max(1, len(times) // 4)
    before, last = median(times[-2 * window : -window] or times), median(times[-window:])
    return abs(last / before - 1) <= STEADY_WITHIN


def calibrate(call: Call, clock: Clock) -> int:
    """Number of calls that last SAMPLE_SECONDS together, grown until they do: single calls tell little of a batch."""
    clock.seconds(call, REWARM_CALLS)
    n = 1
    while (lasted := clock.seconds(call, n)) < SAMPLE_SECONDS:
        n = max(n + 1, math.ceil(n * min(10.0, SAMPLE_SECONDS / max(lasted, 1e-9))))
    return n


def rounds_within(seconds: float, series: Sequence[Series], samples: Sequence[float]) -> int:
    """How many rounds fit into a time, from one sample of each arm; never fewer than 7 nor more than 21."""
    one_round = sum(sample * (1 + REWARM_CALLS / one.calls) for one, sample in zip(series, samples, strict=True))
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / one_round)))


def sample(
    arms: Sequence[Arm], clock: Clock, seconds: float, rng: random.Random, about_to: Callable[[Arm], None]
) -> list[Series]:
    """Time the arms in paired rounds for about the given time, the garbage collector off.

    Args:
        about_to: told of each arm before it runs, so that one that kills the process can be named.
    """
    series, first = [], []
    for arm in arms:
        about_to(arm)
        series.append(Series(arm, calibrate(arm.call, clock)))
        first.append(clock.seconds(arm.call, series[-1].calls))
    rounds = rounds_within(seconds, series, first)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for position, one in enumerate(rng.sample(series, len(series))):
                about_to(one.arm)
                _take(one, clock, position)
    finally:
        gc.enable()
    return series


def _take(one: Series, clock: Clock, position: int) -> None:
    used, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    clock.seconds(one.arm.call, REWARM_CALLS)
    one.seconds.append(clock.seconds(one.arm.call, one.calls))
    now = resource.getrusage(resource.RUSAGE_SELF)
    one.wall_seconds.append(round(time.perf_counter() - wall, 6))
    one.order.append(position)
    one.faults.append(now.ru_minflt - used.ru_minflt)
    one.switches.append(now.ru_nivcsw - used.ru_nivcsw)
    one.cpu_seconds.append(round(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, 6))
