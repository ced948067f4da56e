"""All strategies at one size: what each costs, which cannot be chosen there and why, and how two of them compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, Literal

import pandas as pd

from harness.analyse import costs, frames, pairs, requirements
from harness.analyse.doubts import doubt
from harness.analyse.gate import PASSED
from harness.analyse.launches import Arms, launches_of
from harness.analyse.pairs import Comparison, Contest, Key, Ranking
from harness.records.store import Run

Objective = Literal["latency", "memory", "first_step"]

SAME_BYTES = 1.01
"""Bytes repeat exactly; two strategies tie in memory within 1 %."""


@dataclass(frozen=True)
class Question:
    """What is asked. An empty field takes the run's first: the layer's most telling size, and what goes with it.

    Attributes:
        steps: length of the process in calls, so that the first call with its compilation counts; 0 leaves it out.
        max_memory: bytes above parameters and inputs that the pass may need; None for any number.
        require: see requirements.py.
        allow_waived: whether strategies may be chosen that were timed though the gate refused them.
    """

    layer: str
    dims: str = ""
    dtype: str = ""
    device: str = ""
    threads: int = 0
    passed: str = ""
    objective: Objective = "latency"
    steps: int = 0
    max_memory: float | None = None
    require: tuple[str, ...] = ()
    allow_waived: bool = False

    def at(self, dims: str) -> Key:
        """The key of its group and pass at some size, once all fields are filled in."""
        return (self.layer, dims, self.dtype, self.device, self.threads, self.passed)

    @property
    def calls(self) -> int:
        """Calls that count together; 0 where it is the time of one of many."""
        return 1 if self.objective == "first_step" else self.steps


@dataclass(frozen=True)
class Costs:
    """What a strategy costs; NaN where it was not measured.

    Attributes:
        latency: seconds a call, as in the main table: the median of all samples. Compare by ratios, not by these.
        total: seconds of all the calls that are asked about, the first one included; a call's where none are.
        first: seconds of the cold first call.
        held: bytes above parameters and inputs.
    """

    latency: float
    total: float
    first: float
    held: float


@dataclass(frozen=True)
class Evidence:
    """What answers about a run are taken from, so that many questions read the records once."""

    run: Run
    measured: Arms
    contests: Mapping[Key, Contest]
    status: Mapping[Key, Sequence[Any]]
    timing: pd.DataFrame
    memory: pd.DataFrame
    first: pd.DataFrame
    gate: pd.DataFrame

    @property
    def baselines(self) -> dict[str, str]:
        """By layer."""
        return dict(self.run.of("run")[0]["baselines"])

    @cached_property
    def memory_at(self) -> dict[tuple[Any, ...], pd.DataFrame]:
        """Rows of the memory frame by layer, dims, dtype and device."""
        return dict(list(self.memory.groupby(["layer", "dims", "dtype", "device"], sort=False)))

    @cached_property
    def first_at(self) -> Callable[[str, str, str, str], dict[str, costs.FirstCall]]:
        """The cold first calls that count for a layer, device, dims and dtype, found once each."""
        return cache(partial(costs.first_calls, self.first))


def evidence(run: Run) -> Evidence:
    """Gather it."""
    timing, measured = frames.timing(run), launches_of(run)
    status: dict[Key, list[Any]] = {}
    for row in frames.rows_of(timing):
        key = (row.layer, row.dims, row.dtype, row.device, row.threads, row.passed)
        status.setdefault(key, []).append(row)
    return Evidence(
        run, measured, pairs.contests(run, measured), status, timing, frames.memory(run), frames.first_calls(run),
        frames.gate(run),
    )  # fmt: skip


@dataclass(frozen=True)
class Field:
    """The strategies at one size.

    Attributes:
        costs: of those that were measured, in order of simplicity; those that cannot be chosen are among them.
        barred: why some cannot be chosen.
        first_at: size and dtype that cold first calls were measured at.
    """

    question: Question
    contest: Contest
    costs: Mapping[str, Costs]
    barred: Mapping[str, str]
    first_at: Mapping[str, str]

    @property
    def candidates(self) -> list[str]:
        """Those that can be chosen, the simplest first."""
        return [name for name in self.costs if name not in self.barred]

    def compare(self, a: str, b: str) -> Comparison:
        """The first one's cost over the second's, in what the question is about."""
        if self.question.objective == "memory":
            return pairs.by_bytes({name: own.held for name, own in self.costs.items()}, math.log(SAME_BYTES))(a, b)
        if self.question.calls:
            first = {name: own.first for name, own in self.costs.items()}
            return pairs.by_total(self.contest, first, self.question.calls)(a, b)
        return pairs.by_time(self.contest)(a, b)

    def ranking(self) -> Ranking | None:
        """None where there is no candidate."""
        band = math.log(SAME_BYTES) if self.question.objective == "memory" else self.contest.band
        return pairs.rank(self.candidates, self.compare, band) if self.candidates else None

    def pareto(self) -> list[str]:
        """Candidates that no other is shown to beat in time without needing more memory, or the reverse."""
        faster = pairs.by_time(self.contest)

        def beats(a: str, b: str) -> bool:
            word = faster(b, a).verdict
            less = self.costs[a].held * SAME_BYTES < self.costs[b].held
            no_more = self.costs[a].held <= self.costs[b].held * SAME_BYTES
            return (word == "slower" and no_more) or (word == "tie" and less)

        names = [name for name in self.candidates if not math.isnan(self.costs[name].held)]
        left = [b for b in names if not any(beats(a, b) for a in names if a != b)]
        return sorted(left, key=lambda name: self.costs[name].latency)


def excluded(have: Evidence, question: Question) -> dict[str, str]:
    """Why strategies are out whatever they cost: the gate, then what is required."""
    gate = have.gate[(have.gate["layer"] == question.layer) & (have.gate["device"] == question.device)]
    wanted = question.require
    unmet = requirements.unmet(have.run, question.layer, question.device, wanted) if wanted else {}
    found = {}
    for row in frames.rows_of(gate):
        if row.result == frames.WAIVED and not question.allow_waived:
            words = frames.waivers(have.run)[row.layer, row.strategy, row.device]
            found[row.strategy] = f"{words} (--allow-waived counts it in): {row.reason}"
        elif row.result not in PASSED:
            what = "did not pass the gate" if row.result in ("wrong", "not_run") else str(row.result).replace("_", " ")
            found[row.strategy] = f"{what}: {row.reason}" if row.reason else what
        elif unmet.get(row.strategy):
            found[row.strategy] = "; ".join(unmet[row.strategy])
    return found


def at(have: Evidence, question: Question, dims: str, out: Mapping[str, str]) -> Field:
    """The strategies at a measured size.

    Args:
        out: those that are out whatever they cost.
    """
    key = question.at(dims)
    contest = have.contests[key]
    held = costs.held(have.memory_at[key[:4]], key) if key[:4] in have.memory_at else {}
    first = have.first_at(question.layer, question.device, dims, question.dtype)
    barred, found = dict(out), {}
    for row in have.status.get(key, ()):
        name = row.strategy
        if row.status == "ok" and name in contest.seconds:
            own = first[name].seconds if name in first else math.nan
            found[name] = _costs(question, row.latency, own, held.get(name, math.nan))
            if why := doubt(row.flags):
                barred.setdefault(name, why)
        else:
            barred.setdefault(name, f"{str(row.status).replace('_', ' ')}: {row.reason}")
    return Field(question, contest, found, barred, {name: call.dims for name, call in first.items()})


def between(lower: Field, upper: Field, weight: float) -> Field:
    """The strategies at a size between two measured ones, log-linear in the size."""
    contest = pairs.between(lower.contest, upper.contest, weight)

    def mix(a: float, b: float) -> float:
        return math.exp((1 - weight) * math.log(a) + weight * math.log(b)) if min(a, b) > 0 else (a + b) / 2

    found = {}
    for name in (name for name in lower.costs if name in contest.seconds):
        a, b = lower.costs[name], upper.costs[name]
        found[name] = _costs(lower.question, mix(a.latency, b.latency), mix(a.first, b.first), mix(a.held, b.held))
    return Field(lower.question, contest, found, {**upper.barred, **lower.barred}, lower.first_at)


def limited(one: Field) -> Field:
    """Bar also what needs too much memory, and what was not measured in what the question is about."""
    barred, limit = dict(one.barred), one.question.max_memory
    for name, own in one.costs.items():
        if name in barred:
            continue
        if math.isnan(own.held) and (limit is not None or one.question.objective == "memory"):
            barred[name] = "its memory was not measured"
        elif limit is not None and own.held > limit:
            barred[name] = f"needs {in_bytes(own.held)}, more than the {in_bytes(limit)} allowed"
        elif math.isnan(own.total):
            barred[name] = "its first call was not measured from a cold start"
    return replace(one, barred=barred)


def _costs(question: Question, latency: float, first: float, held: float) -> Costs:
    return Costs(latency, _total(question, first, latency), first, held)


def _total(question: Question, first: float, latency: float) -> float:
    return first + (question.calls - 1) * latency if question.calls else latency


def in_bytes(count: float) -> str:
    """``4198400`` as ``4 MiB``."""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    unit, divisor = next(((u, d) for u, d in units if count >= d), ("B", 1))
    return f"{count / divisor:.4g} {unit}"
