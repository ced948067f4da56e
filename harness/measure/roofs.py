"""Roofs: rates that the machine is seen to reach with nothing but a copy, a product of matrices, or one number.

A case cannot take less time than its compulsory bytes at the copy rate, nor than its operations at the rate of a
product in its dtype (the roofline model: Williams, Waterman, Patterson 2009). Copies are measured over a ladder of
footprints, because what fits in a cache is copied faster than memory allows: a case is held against the rung that is
nearest to its own footprint. Nor can it take less time than one call of one operation: the launch floor, from which on
smaller sizes are no faster.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from harness.measure.clock import Clock, total
from harness.measure.passes import Call
from harness.records.meter import Roof

SECONDS = 0.15
"""For each rate; the fastest sample counts, for a roof is what was not exceeded."""
FOOTPRINTS = {"cpu": [2**n for n in range(16, 30, 2)], "cuda": [2**n for n in range(20, 33, 2)]}
SIDES = {"cpu": (256, 1024), "cuda": (2048, 8192)}


def roofs(device: str, threads: int, dtypes: Sequence[str], clock: Clock, wall: Clock) -> Iterator[Roof]:
    """Launches by the ``wall`` clock; copies by both; by the other products in each dtype, the best of two sizes."""
    one = torch.ones(1, device=device)
    yield Roof(device, threads, "launch", "", 0, 1 / _fastest(Call(lambda: None, lambda _: one.add_(1)), wall))
    for footprint in FOOTPRINTS[device]:
        source = torch.rand(footprint // 8, device=device)  # float32: half of the footprint is read, half written
        sink = torch.empty_like(source)
        call = Call(lambda: None, lambda _, a=source, b=sink: b.copy_(a))  # type: ignore[misc]
        clocks = (clock,) if clock is wall else (clock, wall)  # in a CUDA graph large copies are slower
        best = min(_fastest(call, each) for each in clocks)
        yield Roof(device, threads, "copy", "", footprint, footprint / best)
        del source, sink
    for dtype in dtypes:
        rates = []
        for side in SIDES[device]:
            a, b = (torch.rand(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
            best = _fastest(Call(lambda: None, lambda _, a=a, b=b: a @ b), clock)  # type: ignore[misc]
            rates.append(2 * side**3 / best)
        yield Roof(device, threads, "product", dtype, 0, max(rates))


def _fastest(call: Call, clock: Clock) -> float:
    """Seconds of the fastest call, or of the fastest batch ÷ its calls."""
    total(clock, call, 1)
    n = max(1, int(2e-3 / max(total(clock, call, 1), 1e-9)))
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        best = min(best, total(clock, call, n) / n)
    return best
