"""Paired rounds: each round visits every arm once, in random order, so that what disturbs one disturbs all.

A sample is some untimed calls and then n timed ones; n is set once per launch so that they last at least 5 ms. The
untimed ones undo what the arm before left in the caches: two at least (without them the second of a pair was 1.35 %
slower), and half as many as are timed. A weighted sum over 4 MiB, 0.6 ms a call, needed four: its first calls after
another arm's took 126, 39 and 9 % longer than the later ones.
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
from typing import NamedTuple

from harness.measure.clock import Clock
from harness.measure.conditions import Conditions, Reading, Silent
from harness.measure.passes import Call

REWARM_CALLS = 2
SAMPLE_SECONDS, MOST_SPENT = 5e-3, 10
"""Of a sample; and how many times as long its preparation may make it, where that is all but the whole of it."""
WARM_UP_SECONDS, WARM_UP_CALLS, WARM_UP_LIMIT = 0.3, 20, 3.0
STEADY_WITHIN = 0.1
MOST_ROUNDS, FEWEST_ROUNDS = 21, 7
MOST_REDONE = 3


@dataclass(frozen=True)
class Arm:
    """One thing to be timed; ``again`` marks the baseline's second arm, the baseline against itself."""

    strategy: str
    again: bool
    call: Call


class Sample(NamedTuple):
    """Seconds of the timed calls, position in the round, minor page faults, involuntary context switches, CPU seconds
    of the whole sample (re-warm calls included), and its wall seconds.

    A named tuple, and nothing is rounded here: making one is part of the time around a sample, which must stay below
    a thousandth of it.
    """

    seconds: float
    order: int
    faults: int
    switches: int
    cpu_seconds: float
    wall_seconds: float


@dataclass
class Series:
    """The samples of an arm, one a round, each of ``calls`` calls."""

    arm: Arm
    calls: int
    samples: list[Sample] = field(default_factory=list)

    @property
    def untimed(self) -> int:
        """Calls before each sample: half as many, and two at least."""
        return max(REWARM_CALLS, math.ceil(self.calls / 2))

    @property
    def seconds(self) -> list[float]:
        """Of each round, for all its calls."""
        return [s.seconds for s in self.samples]


@dataclass
class Rounds:
    """What the machine did: a reading a round, and how many rounds were done again for a throttled clock."""

    readings: list[Reading] = field(default_factory=list)
    redone: int = 0


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


def calibrate(call: Call, clock: Clock) -> tuple[int, float]:
    """Number of calls that last SAMPLE_SECONDS together, and how long it took to time them.

    The number is grown until they do: single calls tell little of a batch.
    """
    clock.seconds(call, REWARM_CALLS)
    n = 1
    while True:
        started = time.perf_counter()
        lasted = clock.seconds(call, n)
        spent = time.perf_counter() - started
        if lasted >= SAMPLE_SECONDS or spent >= MOST_SPENT * SAMPLE_SECONDS:
            return n, max(lasted, spent)
        n = max(n + 1, math.ceil(n * min(10.0, SAMPLE_SECONDS / max(lasted, 1e-9))))


def rounds_within(seconds: float, series: Sequence[Series], samples: Sequence[float], most: int = MOST_ROUNDS) -> int:
    """How many rounds fit into a time, from one sample of each arm; never fewer than 7 nor more than ``most``."""
    one_round = sum(sample * (1 + one.untimed / one.calls) for one, sample in zip(series, samples, strict=True))
    return max(FEWEST_ROUNDS, min(most, int(seconds / one_round)))


def sample(
    arms: Sequence[Arm],
    clock: Clock,
    seconds: float,
    rng: random.Random,
    about_to: Callable[[Arm], None] = lambda arm: None,
    conditions: Conditions | None = None,
    most_rounds: int = MOST_ROUNDS,
) -> tuple[list[Series], Rounds]:
    """Time the arms in paired rounds for about the given time, the garbage collector off.

    A round in which the chip was throttled is done again as a whole, at most three times; after a round that stayed
    throttled none is done again, for then it is how the chip runs. Nothing else is left out.

    Args:
        about_to: told of each arm before it runs, so that one that kills the process can be named.
        conditions: read once a round.
        most_rounds: even if there is time for more.
    """
    machine = conditions or Silent()
    series, first = [], []
    for arm in arms:
        about_to(arm)
        calls, lasted = calibrate(arm.call, clock)
        series.append(Series(arm, calls))
        first.append(lasted)
    rounds, hopeless = Rounds(), False
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds_within(seconds, series, first, most_rounds)):
            for attempt in range(1 + (0 if hopeless else MOST_REDONE)):
                taken = []
                for position, one in enumerate(rng.sample(series, len(series))):
                    about_to(one.arm)
                    taken.append((one, take(one, clock, position)))
                reading = machine.read()
                throttled = machine.throttled(reading)
                hopeless = hopeless or (throttled and attempt == MOST_REDONE)
                if not throttled or hopeless:
                    break
                rounds.redone += 1
            rounds.readings.append(reading)
            for one, found in taken:
                one.samples.append(found)
    finally:
        gc.enable()
    return series, rounds


def take(one: Series, clock: Clock, position: int) -> Sample:
    """One sample of an arm: its untimed calls, then the timed ones."""
    used, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    clock.seconds(one.arm.call, one.untimed)
    seconds = clock.seconds(one.arm.call, one.calls)
    now = resource.getrusage(resource.RUSAGE_SELF)
    return Sample(
        seconds,
        position,
        now.ru_minflt - used.ru_minflt,
        now.ru_nivcsw - used.ru_nivcsw,
        now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        time.perf_counter() - wall,
    )
