"""Paired rounds: each round visits every arm once, in random order, so that what disturbs one disturbs all.

A sample is some untimed calls and then n timed ones, numbers set once per launch. The untimed ones undo what the arm
before left in the caches: they last 2.5 ms, or are five. The timed ones last 4 ms. The shorter a sample, the closer in
time are those that are compared, and the more rounds there are; but what it takes to note one down must stay below a
thousandth of it.

What a call took in a round is the interquartile mean of its timed calls where they are timed singly (of three or fewer
their mean). A processor's timer tick is in one or two calls of a sample: the sum of all says more of how many than of
the arm. It is recorded beside.

What these numbers stand on is measured by ``python -m tests.measure.samples``; results/amd-epyc-2-cores has a run.
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

import numpy as np

from harness.measure.clock import Clock, total
from harness.measure.conditions import Conditions, Reading, Silent
from harness.measure.draws import Draws, Judged, Visit
from harness.measure.passes import Call
from harness.records.schema import SAMPLE_SECONDS

REWARM_SECONDS, REWARM_CALLS = 2.5e-3, 5
"""Untimed calls before a sample last so long, or are so many."""
MOST_SPENT = 10
"""How many times as long preparation may make a sample, where it is all but the whole of it."""
WARM_UP_SECONDS, WARM_UP_CALLS, WARM_UP_LIMIT = 0.3, 20, 3.0
STEADY_WITHIN = 0.1
MOST_ROUNDS, FEWEST_ROUNDS = 51, 7
MOST_REDONE = 3


@dataclass(frozen=True)
class Arm:
    """One thing to be timed; ``again`` marks the baseline's second arm, the baseline against itself."""

    strategy: str
    again: bool
    call: Call


Usage = tuple[resource.struct_rusage, float]
"""What this process has used so far, and seconds on the clock."""


def read_usage() -> Usage:
    """Up to now."""
    return resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()


class Used(NamedTuple):
    """By a sample, its untimed calls too: minor page faults, involuntary context switches, CPU and wall seconds."""

    faults: int
    switches: int
    cpu_seconds: float
    wall_seconds: float


class Sample(NamedTuple):
    """The spans of the timed calls (see ``Clock``), the position in the round, and what was read before and after.

    A named tuple, and nothing is computed here: making one is part of the time around a sample, which must stay below
    a thousandth of it.
    """

    spans: Sequence[float]
    order: int
    before: Usage
    after: Usage

    @property
    def used(self) -> Used:
        """Between the readings."""
        (had, start), (has, end) = self.before, self.after
        cpu = has.ru_utime + has.ru_stime - had.ru_utime - had.ru_stime
        return Used(has.ru_minflt - had.ru_minflt, has.ru_nivcsw - had.ru_nivcsw, cpu, end - start)


@dataclass
class Series:
    """The samples of an arm, one a round, each of ``calls`` calls after ``untimed`` others.

    Attributes:
        judged: visits that hold the answer of a timed call.
        new: of those rounds, how much longer a call took that read contents which were new to it.
    """

    arm: Arm
    calls: int
    untimed: int
    samples: list[Sample] = field(default_factory=list)
    judged: list[Visit] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Of each round, for all its calls."""
        return [round(sum(s.spans) * 1e-9, 12) for s in self.samples]

    @property
    def call_seconds(self) -> list[float]:
        """Of each round, for a call: the interquartile mean of its calls, or the mean where a batch is timed."""
        spans = np.sort(np.array([s.spans for s in self.samples], dtype=float), axis=1)
        n = spans.shape[1]
        middle = spans[:, n // 4 : n - n // 4].mean(axis=1)  # scipy.stats has it, and every worker would import that
        return [round(x, 12) for x in (middle * (n / self.calls * 1e-9)).tolist()]

    def note(self, sample: Sample, visit: Visit) -> None:
        """Take the sample of a round, and what it says of new contents where each call was timed singly and once."""
        self.samples.append(sample)
        if visit.judged is None:
            return
        self.judged.append(visit)
        if visit.new >= 0 and len(sample.spans) == self.calls and visit.at == self.untimed + self.calls:
            place = visit.new - self.untimed
            others = [span for i, span in enumerate(sample.spans) if i != place]
            self.new.append(round(sample.spans[place] / max(median(others), 1.0), 4))


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
        times.append(total(clock, call, 1))
    window = max(1, len(times) // 4)
    before, last = median(times[-2 * window : -window] or times), median(times[-window:])
    return abs(last / before - 1) <= STEADY_WITHIN


def calibrate(arm: Arm, clock: Clock, sample_seconds: float = SAMPLE_SECONDS) -> tuple[Series, float]:
    """How many calls of an arm make a sample, and how many seconds the timed ones take with their preparation.

    The number is grown until they last long enough, or there are no more contents for them: single calls tell little of
    a batch.
    """
    operands = arm.call.operands
    total(clock, arm.call, REWARM_CALLS)
    n = 1
    while True:
        room = operands.room(n + REWARM_CALLS)
        n = min(n, max(1, room - REWARM_CALLS))
        started = time.perf_counter()
        lasted = total(clock, arm.call, n)
        spent = time.perf_counter() - started
        full = room < n + REWARM_CALLS
        if lasted >= sample_seconds or spent >= MOST_SPENT * sample_seconds or full:
            break
        n = max(n + 1, math.ceil(n * min(10.0, sample_seconds / max(lasted, 1e-9))))
    untimed = math.ceil(REWARM_SECONDS * n / max(lasted, 1e-9))
    return Series(arm, n, min(REWARM_CALLS, untimed, room - n)), max(lasted, spent)


def rounds_within(budget: float, series: Sequence[Series], samples: Sequence[float], most: int = MOST_ROUNDS) -> int:
    """How many rounds fit into a time, from one sample of each arm; never fewer than 7 nor more than ``most``."""
    one_round = sum(sample * (1 + one.untimed / one.calls) for one, sample in zip(series, samples, strict=True))
    return max(FEWEST_ROUNDS, min(most, int(budget / one_round)))


def sample(
    arms: Sequence[Arm],
    clock: Clock,
    budget: float,
    rng: random.Random,
    about_to: Callable[[Arm], None] = lambda arm: None,
    conditions: Conditions | None = None,
    most_rounds: int = MOST_ROUNDS,
    sample_seconds: float = SAMPLE_SECONDS,
    draws: Draws | None = None,
) -> tuple[list[Series], Rounds]:
    """Time the arms in paired rounds for about the given time, the garbage collector off.

    A round in which the chip was throttled is done again as a whole, at most three times; after a round that stayed
    throttled none is done again, for then it is how the chip runs. Nothing else is left out.

    Args:
        budget: seconds.
        about_to: told of each arm before it runs, so that one that kills the process can be named.
        conditions: read once a round.
        most_rounds: even if there is time for more.
        sample_seconds: how long the timed calls of a sample last at least.
        draws: what the arms' operands are written with: new weights for each round, in random order the contents of a
            sample, and in some rounds, drawn at random, at one random timed call of each arm what is judged.
    """
    machine = conditions or Silent()
    series, first = [], []
    for arm in arms:
        about_to(arm)
        one, lasted = calibrate(arm, clock, sample_seconds)
        series.append(one)
        first.append(lasted)
    rounds, hopeless = Rounds(), False
    gc.collect()
    gc.disable()
    try:
        count = rounds_within(budget, series, first, most_rounds)
        judged = {} if draws is None else _judged_rounds(draws, count, rng)
        for number in range(count):
            for attempt in range(1 + (0 if hopeless else MOST_REDONE)):
                visits = _visits(series, draws, judged.get(number))
                taken, before = [], read_usage()
                for position, i in enumerate(rng.sample(range(len(series)), len(series))):
                    one = series[i]
                    about_to(one.arm)
                    taken.append((one, take(one, clock, position, before, visits[i]), visits[i]))
                    before = taken[-1][1].after
                reading = machine.read()
                throttled = machine.throttled(reading)
                hopeless = hopeless or (throttled and attempt == MOST_REDONE)
                if not throttled or hopeless:
                    break
                rounds.redone += 1
            rounds.readings.append(reading)
            for one, found, visit in taken:
                one.note(found, visit)
    finally:
        gc.enable()
    return series, rounds


def _judged_rounds(draws: Draws, count: int, rng: random.Random) -> dict[int, Judged]:
    """The judged call of each judged round."""
    few = draws.judged[:count]
    return dict(zip(rng.sample(range(count), len(few)), few, strict=True))


def _visits(series: Sequence[Series], draws: Draws | None, judged: Judged | None) -> list[Visit]:
    """Write the weights of a round; what each arm reads in it."""
    if draws is None:
        return [Visit() for _ in series]
    if judged is not None:
        draws.renew()
    weights, moves = draws.weights(judged)
    for one in series:
        one.arm.call.operands.weigh(weights, moves)
    return [draws.visit(one.untimed, one.calls, judged) for one in series]


def take(one: Series, clock: Clock, position: int, before: Usage, visit: Visit) -> Sample:
    """One sample of an arm: its untimed calls, then the timed ones."""
    call = one.arm.call
    call.operands.begin(visit)
    clock.spans(call, one.untimed)
    return Sample(clock.spans(call, one.calls), position, before, read_usage())
