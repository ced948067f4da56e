"""Clocks: how long n calls of a pass take on a device.

A clock is a parameter of the sampler, so that sampling is tested without a device.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

import torch

from harness.measure.passes import Call


class Clock(Protocol):
    """Times calls on one kind of device."""

    def seconds(self, call: Call, n: int) -> float:
        """Seconds that n calls take together, preparation left out."""
        ...


class CpuClock:
    """Every call is timed by itself (a clock pair costs 80 ns), so preparation stays out; the sample is their sum."""

    def seconds(self, call: Call, n: int) -> float:
        prepare, run = call.prepare, call.run
        total = 0
        for _ in range(n):
            made = prepare()
            start = perf_counter_ns()
            kept = run(made)
            total += perf_counter_ns() - start
            del kept, made
        return round(total * 1e-9, 9)


class CudaClock:
    """Wall time of a batch of calls, synchronised at both ends: what a training loop sees.

    A backward cannot be timed by itself this way (its graph would have to be built inside the batch), so it is
    derived as forward_backward − forward when the records are analysed.
    """

    def seconds(self, call: Call, n: int) -> float:
        prepare, run = call.prepare, call.run
        torch.cuda.synchronize()
        start = perf_counter_ns()
        for _ in range(n):
            run(prepare())
        torch.cuda.synchronize()
        return round((perf_counter_ns() - start) * 1e-9, 9)


def clock_for(device: str) -> Clock:
    """The clock of a device."""
    return CudaClock() if device == "cuda" else CpuClock()
