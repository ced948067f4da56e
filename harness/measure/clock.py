"""Clocks: how long calls of a pass take on a device.

A clock is a parameter of the sampler, so that sampling is tested without a device.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Protocol

from harness.measure.passes import Call


class Clock(Protocol):
    """Times calls on one kind of device.

    It has new contents written before each call, or before each batch of them and never within it, and hands over what
    calls returned when it has stopped.
    """

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """Nanoseconds of n calls without their preparation: of each, or of all together where a batch is timed."""
        ...


def total(clock: Clock, call: Call, n: int) -> float:
    """Seconds that n calls take together."""
    return sum(clock.spans(call, n)) * 1e-9


class CpuClock:
    """Every call is timed by itself (a clock pair costs 80 ns), so writing and preparation stay out."""

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``."""
        prepare, run, write, done = call.prepare, call.run, call.write, call.done
        found = array("q", bytes(8 * n))
        for i in range(n):
            write(1)
            made = prepare()
            start = perf_counter_ns()
            kept = run(made)
            found[i] = perf_counter_ns() - start
            done((kept,))
            del kept, made
        return found


def clocks_for(device: str) -> dict[str, Clock]:
    """The clocks of a device by regime; ``wall`` is the first."""
    if device == "cpu":
        return {"wall": CpuClock()}
    from harness.measure.cuda import ColdClock, GraphClock, WallClock

    return {"wall": WallClock(), "device_cold": ColdClock(), "device_hot": GraphClock()}
