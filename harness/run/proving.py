"""The ``proofs`` cells: what the meter proves of itself, by name, which levels take which is in selftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harness.analyse import simulation
from harness.records.schema import Proof
from harness.run import proofs
from harness.run.jobs import Cell
from harness.run.process import Process
from harness.run.proofs import proof
from harness.run.selftest import LAUNCH

TRIALS = 1000
SIX = (0.95, 1.0, 1.05, 1.0, 0.95)
"""True ratios of five strategies to their baseline."""
LAUNCH_SECONDS = 2.0


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
    "known duration": proofs.known_durations,
    "overhead": proofs.overhead,
    "known bytes": proofs.known_bytes,
    "agreement": proofs.agreement,
    "identical code": lambda: proofs.identical_code(8),
    "identical code, 100 times": lambda: proofs.identical_code(100),
    "one after the other": lambda: proofs.one_after_the_other(4),
    "one after the other, 100 times": lambda: proofs.one_after_the_other(100),
    "busy machine": lambda: proofs.busy_machine(4, 3.0),
    "coverage": coverage,
    "GPU": proofs.device,
}


def prove(process: Process, cell: Cell) -> Iterator[Any]:
    """One proof, or one launch of identical code whose log-ratio is recorded."""
    (name,) = cell.strategies
    process.about_to(str(cell.group), "", name)
    if name == LAUNCH:
        found = proofs.identical(LAUNCH_SECONDS, cell.launch)
        yield proofs.shown(LAUNCH, f"log-ratio of identical code, launch {cell.launch}", found.log_ratio, "")
    else:
        yield from PROOFS[name]()
