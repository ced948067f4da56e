"""The meter proves itself: known durations, known bytes, identical code, and what a busy machine does to it.

Each proof gives figures with the range that they must lie in. They run in a worker (``proofs`` cells), pinned and with
the allocator fixed like every timed launch, and need no layer: what is timed is a dense layer with a bend, of the
controls. Which proofs are run when is in selftest.py.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.analyse import simulation
from harness.analyse.statistics import FEWEST_LAUNCHES, interval, margin, verdict
from harness.layers.drawing import draw
from harness.layers.spec import Strategy
from harness.measure import memory
from harness.measure.clock import Clock, CpuClock, total
from harness.measure.conditions import CpuConditions
from harness.measure.draws import Visit
from harness.measure.passes import Call, ready
from harness.measure.sampler import Arm, Rounds, Series, read_usage, sample, take, warm_up
from harness.records.meter import Proof, proof, shown
from harness.records.schema import SAMPLE_SECONDS
from harness.run.jobs import Cell
from harness.run.other_meters import agreement, by_pytest_benchmark, by_timer
from harness.run.process import Process
from harness.run.selftest import LAUNCH
from harness.run.stale import stale_answers
from harness.run.wanted import PROFILES
from harness.run.workload import COMPARISON_SECONDS, MARGIN, ninth_decile, pool, workload
from harness.verify.controls import dense_layer

OUTSIDE = 0.02
"""The share of comparisons of identical code that may lie outside their margin."""
EVERY_ROUND = 10**6
TRIALS = 1000
SIX = (0.95, 1.0, 1.05, 1.0, 0.95)
"""True ratios of five strategies to their baseline."""
LAUNCH_ARMS, LAUNCH_SECONDS = 7, PROFILES["default"].seconds
"""Six strategies and the baseline again, for as long as the default profile gives a pass."""


def known_durations() -> Iterator[Proof]:
    """The clock on busy-waits: never short, and hardly long."""
    for microseconds, share in ((20, 0.03), (100, 0.02), (1000, 0.01)):
        call = Call(lambda: None, lambda _, us=microseconds: _wait(us))  # type: ignore[misc]
        off = median(total(CpuClock(), call, 1) for _ in range(100)) / (microseconds * 1e-6) - 1
        yield proof("known duration", f"a wait of {microseconds} µs is off by", off, 0.0, share, "ratio")


def _wait(microseconds: int) -> None:
    end = perf_counter_ns() + 1000 * microseconds
    while perf_counter_ns() < end:
        pass


def overhead() -> Iterator[Proof]:
    """What the timing itself takes of a sample."""
    pairs = []
    for _ in range(1000):
        start = perf_counter_ns()
        pairs.append(perf_counter_ns() - start)
    yield proof("overhead", "a pair of clock readings", median(pairs), None, 200, "ns")
    call = workload(draws=pool()).calls["forward_backward"]
    warm_up(call, CpuClock())
    one = total(CpuClock(), call, 50) / 50
    yield proof("overhead", "clock readings, of a sample", median(pairs) * 1e-9 / one, None, 1e-3, "ratio")
    nothing = Series(Arm("nothing", False, call), 1, 1)
    takes, before = [], read_usage()
    for _ in range(1000):
        start = perf_counter_ns()
        take(nothing, _Stopped(), 0, before, Visit())
        takes.append(perf_counter_ns() - start)
    share = median(takes) * 1e-9 / SAMPLE_SECONDS
    yield proof("overhead", "book-keeping around a sample, of the sample", share, None, 1e-3, "ratio")


class _Stopped:
    """A clock that calls nothing."""

    def spans(self, call: Call, n: int) -> Sequence[float]:
        return ()


@dataclass(frozen=True)
class Comparison:
    """Two arms of identical code: log-ratio second over first arm, and that of later over earlier in a round."""

    log_ratio: float
    position: float
    series: tuple[Series, Series]
    rounds: Rounds


def identical(seconds: float, seed: int, clock: Clock | None = None) -> Comparison:
    """Time the same code twice, in paired rounds."""
    draws = pool()
    arms = [Arm(name, False, workload(draws=draws).calls["forward_backward"]) for name in ("one", "other")]
    (one, other), rounds = sample(
        arms, clock or CpuClock(), seconds, random.Random(seed), conditions=CpuConditions(), most_rounds=EVERY_ROUND,
        draws=draws,
    )  # fmt: skip
    logs = [math.log(b / a) for a, b in _per_call(one, other)]
    by_order = [log if t.order == 1 else -log for log, t in zip(logs, other.samples, strict=True)]
    return Comparison(median(logs), median(by_order), (one, other), rounds)


def one_launch(seed: int, count: int = LAUNCH_ARMS, seconds: float = LAUNCH_SECONDS) -> list[Series]:
    """Identical code as a launch of a benchmark times it: several arms, its seconds and its rounds."""
    draws = pool()
    arms = [Arm(str(n), False, workload(draws=draws).calls["forward_backward"]) for n in range(count)]
    return sample(arms, CpuClock(), seconds, random.Random(seed), conditions=CpuConditions(), draws=draws)[0]


def _log_ratio(one: Series, other: Series) -> float:
    return median(math.log(b / a) for a, b in _per_call(one, other))


def _per_call(one: Series, other: Series) -> Iterator[tuple[float, float]]:
    yield from zip(one.call_seconds, other.call_seconds, strict=True)


def identical_code(comparisons: int, seconds: float = COMPARISON_SECONDS) -> Iterator[Proof]:
    """A/A: identical code compared with itself, many times."""
    found = [identical(seconds, seed) for seed in range(comparisons)]
    off = [abs(math.expm1(c.log_ratio)) for c in found]
    name = "identical code"
    yield proof(name, f"error of a ratio, median of {comparisons}", median(off), None, 0.0025, "ratio")
    yield proof(name, "error of a ratio, 90th percentile", ninth_decile(off), None, 0.006, "ratio")
    outside = sum(x > MARGIN for x in off)
    what = f"outside the margin of {MARGIN:.0%}, of {comparisons}"
    yield proof(name, what, outside, None, round(OUTSIDE * comparisons), "count")
    position = median(abs(c.position) for c in found)
    yield proof("position", "later over earlier in a round, median", position, None, 0.005, "ratio")


def busy_machine(groups: int, seconds: float) -> Iterator[Proof]:
    """A/A while two other processes burn: no verdict is wrong, and the samples say that they were disturbed.

    A group is the baseline, the baseline again and the same code as a third, in as many launches as an interval needs.
    Its band is what identical code differs by there, so single ratios may be far off; they are shown.
    """
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        found = [
            [one_launch(FEWEST_LAUNCHES * group + launch, 3, seconds) for launch in range(FEWEST_LAUNCHES)]
            for group in range(groups)
        ]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    words = []
    for launches in found:
        noise = [_log_ratio(base, again) for base, again, _ in launches]
        same = [_log_ratio(base, third) for base, _, third in launches]
        words.append(verdict(interval(same, 1), margin("cpu", interval(noise, 1))))
    name = "busy machine"
    called = sum(word in ("faster", "slower") for word in words)
    yield proof(name, f"identical code called faster or slower, of {groups}", called, None, 0, "count")
    off = [abs(math.expm1(_log_ratio(base, third))) for launches in found for base, _, third in launches]
    yield shown(name, "error of a launch's ratio, median", median(off), "ratio")
    samples = [t.used for launches in found for arms in launches for one in arms for t in one.samples]
    disturbed = sum(t.switches > 0 or t.cpu_seconds < 0.9 * t.wall_seconds for t in samples)
    yield proof(name, "samples that say they were disturbed", disturbed / len(samples), 0.25, None, "ratio")


class _Plant(torch.autograd.Function):
    """Keeps 4 MiB for the backward that it has no use for."""

    @staticmethod
    def forward(ctx, y: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.planted = torch.empty(2**20)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return g


def known_bytes() -> Iterator[Proof]:
    """Memory against the formula of a linear layer, 4 (BO + BI + IO + O) bytes with the output held."""
    linear = Strategy(lambda x, weight, bias: torch.addmm(bias, x, weight))
    planted = Strategy(lambda x, weight, bias: _Plant.apply(torch.addmm(bias, x, weight)))
    for B, I, O in ((7, 13, 5), (64, 64, 64), (1, 1, 1), (129, 257, 33)):  # noqa: E741
        dims = {"B": B, "I": I, "O": O}
        plain, more = (_bytes(s, dims) for s in (linear, planted))
        truth = 4 * (B * O + B * I + I * O + O)
        yield proof("known bytes", f"{B} × {I} → {O}: {truth} B, off by", plain.backward_peak - truth, 0, 0, "B")
        yield proof("known bytes", "4 MiB planted, off by", more.saved - plain.saved - 2**22, 0, 0, "B")


def _bytes(strategy: Strategy, dims: dict[str, int]) -> memory.Bytes:
    values = draw(dense_layer.layer, dims, torch.float32, "cpu", 0)
    return memory.measure(ready(dense_layer.layer, strategy, dims, values).calls, "cpu")


def device() -> Iterator[Proof]:
    """The CUDA clocks; not run where there is no GPU."""
    if not torch.cuda.is_available():
        yield Proof("GPU", "sleep kernels, dispatch, flush", None, None, None, "", "not_run", "no CUDA device")
        return
    from harness.measure.cuda import ColdClock, GraphClock, WallClock

    cold, hot, wall = ColdClock(), GraphClock(), WallClock()

    def call(run: object) -> Call:
        return Call(lambda: None, lambda _: run())  # type: ignore[operator]

    def sleep(cycles: int) -> Call:
        return call(lambda: torch.cuda._sleep(cycles))

    for name, clock in (("cold", cold), ("hot", hot), ("wall", wall)):
        one, two = (median(total(clock, sleep(c), 10) for _ in range(10)) for c in (10**6, 2 * 10**6))
        yield proof("GPU", f"a sleep of twice the cycles, {name}", two / one, 1.98, 2.02, "ratio")
    single = torch.zeros(1, device="cuda")
    add = call(lambda: single.add_(1))
    yield proof(
        "GPU", "one-element add, wall over hot", total(wall, add, 1000) / total(hot, add, 1000), 1.2, None, "ratio"
    )
    for name, size, low, high in (("4 MiB", 2**20, 1.03, None), ("4 GiB", 2**30, 0.97, 1.03)):
        source = torch.rand(size, device="cuda")
        sink = torch.empty_like(source)
        turn = call(lambda a=source, b=sink: torch.neg(a, out=b))  # a copy would be no kernel, and slower in a graph
        ratio = median(total(cold, turn, 10) for _ in range(10)) / median(total(hot, turn, 10) for _ in range(10))
        yield proof("GPU", f"{name} negated, cold over hot", ratio, low, high, "ratio")
        del source, sink


def coverage() -> Iterator[Proof]:
    """Of the intervals, simulated."""
    noise = simulation.normal_noise(np.random.default_rng(0))
    for ratio in (0.95, 1.0, 1.05):
        share = simulation.coverage(noise, (ratio,), 1, TRIALS)
        yield proof("coverage", f"2 strategies, one look, true ratio {ratio}", share, 0.93, 0.97, "share")
    for looks, words in ((1, "one look"), (2, "two looks")):
        share = simulation.coverage(noise, SIX, looks, TRIALS)
        yield proof("coverage", f"6 strategies together, {words}", share, 0.95, None, "share")


PROOFS: dict[str, Callable[[], Iterator[Proof]]] = {
    "known duration": known_durations,
    "overhead": overhead,
    "known bytes": known_bytes,
    "agreement": agreement,
    "identical code": lambda: identical_code(8),
    "identical code, 100 times": lambda: identical_code(100),
    "one after the other": lambda: by_timer(4),
    "one after the other, 100 times": lambda: by_timer(100),
    "pytest-benchmark, 100 times": lambda: by_pytest_benchmark(100),
    "busy machine": lambda: busy_machine(3, 1.0),
    "coverage": coverage,
    "stale answers": stale_answers,
    "GPU": device,
}


def prove(process: Process, cell: Cell) -> Iterator[Any]:
    """One proof, or one launch of identical code whose log-ratio is recorded."""
    (name,) = cell.strategies
    process.about_to(str(cell.group), "", name)
    if name == LAUNCH:
        one, other, *_ = one_launch(cell.launch)
        yield shown(LAUNCH, f"log-ratio of identical code, launch {cell.launch}", _log_ratio(one, other), "")
    else:
        yield from PROOFS[name]()
