"""The cells that measure: ``time``, ``memory`` and ``first_call``."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

from harness.layers.drawing import Values, draw
from harness.measure import memory
from harness.measure.clock import clock_for
from harness.measure.passes import Call, calls
from harness.measure.sampler import Arm, Series, sample, warm_up
from harness.records.schema import CaseStatus, FirstCall, Group, Memory, Samples, dims_of
from harness.run.jobs import Cell, note_bytes
from harness.run.process import Process, forget_compiled, leave_if_the_device_is_lost
from harness.verify.asking import status_of

DIGEST_ELEMENTS = 2**20


class Bench:
    """A group made ready: values drawn, each strategy built and warmed up; those that fail are left out."""

    def __init__(self, process: Process, group: Group) -> None:
        self.process, self.group = process, group
        process.about_to(str(group), "", "drawing the values")
        torch.set_num_threads(group.threads)
        forget_compiled()
        self.layer = process.layer(group.layer)
        self.dims = dims_of(group.dims)
        self.values: Values = draw(self.layer, self.dims, getattr(torch, group.dtype), group.device, process.job.seed)

    def calls(self, strategy: str) -> dict[str, Call]:
        """A strategy's passes, with parameters of its own."""
        return calls(self.layer, self.process.strategy(self.group.layer, strategy), self.dims, self.values)

    def first_call(self, made: dict[str, Call]) -> float:
        """Seconds of the first forward and backward, compilation included."""
        call = made["forward_backward"]
        started = time.perf_counter()
        call.run(call.prepare())
        self.synchronize()
        return time.perf_counter() - started

    def digest(self, made: dict[str, Call]) -> str:
        """Of output and gradients, bit for bit; of large ones, of evenly spaced elements."""
        call = made["forward_backward"]
        output, gradients = call.run(call.prepare())
        sha = hashlib.sha256()
        for tensor in (output, *gradients):
            flat = tensor.detach().flatten()
            some = flat[:: max(1, flat.numel() // DIGEST_ELEMENTS)].contiguous().cpu()
            sha.update(some.view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()[:16]

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.group.device == "cuda":
            torch.cuda.synchronize()

    def failed(self, strategy: str, stage: str, error: Exception, passed: str = "") -> CaseStatus:
        """The status of a strategy that raised."""
        g = self.group
        leave_if_the_device_is_lost(g.device)
        status, reason = status_of(error)
        return CaseStatus(g.layer, strategy, status, reason, stage, g.dims, g.dtype, g.device, g.threads, passed)


def time_group(process: Process, cells: Sequence[Cell]) -> None:
    """The timing cells of one group in one launch: first calls, warm-up, then paired rounds pass by pass."""
    job, group, launch = process.job, cells[0].group, cells[0].launch
    clock = clock_for(group.device)
    bench = Bench(process, group)
    ready: dict[str, tuple[dict[str, Call], bool, str]] = {}
    again: dict[str, Call] | None = None
    extra: list[Any] = []
    for strategy in dict.fromkeys(s for cell in cells for s in cell.strategies):
        process.about_to(str(group), strategy, "first call and warm-up")
        try:
            made = bench.calls(strategy)
            seconds = bench.first_call(made)
            steady = warm_up(made["forward_backward"], clock)
            ready[strategy] = (made, steady, bench.digest(made))
            if strategy == cells[0].baseline:
                again = bench.calls(strategy)
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            extra.append(bench.failed(strategy, "time", error))
        else:
            extra.append(FirstCall(group, strategy, launch, cold=False, seconds=seconds))

    notes = {s: note_bytes(str(group), s, f"launch {launch}") for s in ready}
    for cell in cells:
        started = time.perf_counter()
        series: list[Series] = []
        able = {s: ready[s] for s in cell.strategies if s in ready}
        while able:
            arms = [Arm(s, False, made[cell.passed]) for s, (made, _, _) in able.items()]
            if again is not None and cell.baseline in able:
                arms.append(Arm(cell.baseline, True, again[cell.passed]))
            rng = random.Random(f"{job.seed} {cell.name}")
            current: list[str] = []
            try:
                series = sample(arms, clock, job.seconds, rng, _noting(process, notes, current))
            except Exception as error:  # noqa: BLE001 - see above
                extra.append(bench.failed(current[0], "time", error, cell.passed))
                del able[current[0]]
            else:
                break
        records = [
            Samples(
                group, s.arm.strategy, s.arm.again, cell.passed, launch, s.calls, s.seconds, s.order, s.faults,
                s.switches, s.cpu_seconds, s.wall_seconds, *ready[s.arm.strategy][1:],
            )
            for s in series
        ]  # fmt: skip
        process.close(cell, [*extra, *records], time.perf_counter() - started)
        extra = []


def _noting(process: Process, notes: dict[str, bytes], current: list[str]) -> Callable[[Arm], None]:
    def about_to(arm: Arm) -> None:
        current[:] = [arm.strategy]
        process.write_note(notes[arm.strategy])

    return about_to


def measure_memory(process: Process, cell: Cell) -> Iterator[Any]:
    """Bytes of each strategy of a group."""
    bench = Bench(process, cell.group)
    for strategy in cell.strategies:
        process.about_to(str(cell.group), strategy, "memory")
        try:
            found = memory.measure(bench.calls(strategy), cell.group.device)
        except memory.AllocationEventsError:
            raise
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            yield bench.failed(strategy, "memory", error)
        else:
            yield Memory(cell.group, strategy, **asdict(found))


def first_call(process: Process, cell: Cell) -> Iterator[Any]:
    """The cold first call of one strategy: this process is fresh and its compile caches are empty."""
    (strategy,) = cell.strategies
    process.about_to(str(cell.group), strategy, "cold first call")
    bench = Bench(process, cell.group)
    try:
        seconds = bench.first_call(bench.calls(strategy))
    except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
        yield bench.failed(strategy, "first_call", error)
    else:
        yield FirstCall(cell.group, strategy, 0, cold=True, seconds=seconds)
