"""Clocks: how long n calls of a pass take on a device.

A clock is a parameter of the sampler, so that sampling is tested without a device.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

from harness.measure.passes import Call


class Clock(Protocol):
    """Times calls on one kind of device."""

    def seconds(self, call: Call, n: int) -> float:
        """Seconds that n calls take together, preparation left out."""
        ...


class CpuClock:
    """Every call is timed by itself (a clock pair costs 80 ns), so preparation stays out; the sample is their sum."""

    def seconds(self, call: Call, n: int) -> float:
        """See ``Clock``."""
        prepare, run = call.prepare, call.run
        total = 0
        for _ in range(n):
            made = prepare()
            start = perf_counter_ns()
            kept = run(made)
            total += perf_counter_ns() - start
            del kept, made
        return round(total * 1e-9, 9)


def clocks_for(device: str) -> dict[str, Clock]:
    """The clocks of a device by regime; ``wall`` is the first."""
    if device == "cpu":
        return {"wall": CpuClock()}
    from harness.measure.cuda import ColdClock, GraphClock, WallClock

    return {"wall": WallClock(), "device_cold": ColdClock(), "device_hot": GraphClock()}
