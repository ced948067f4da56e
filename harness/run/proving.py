"""The ``proofs`` cells: what the meter proves of itself, by name, and how much of it at which level."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harness.analyse import simulation
from harness.measure import proofs
from harness.measure.proofs import proof
from harness.records.schema import Proof
from harness.run.jobs import Cell
from harness.run.process import Process

TRIALS = 1000
SIX = (0.95, 1.0, 1.05, 1.0, 0.95)
"""True ratios of five strategies to their baseline."""
LAUNCH, LAUNCH_SECONDS = "a launch", 2.0


def coverage() -> Iterator[Proof]:
    """Of the intervals, simulated."""
    noise = simulation.normal_noise(np.random.default_rng(0))
    for ratio in (0.95, 1.0, 1.05):
        share = simulation.coverage(noise, (ratio,), 1, TRIALS)
        yield proof("coverage", f"2 strategies, one look, true ratio {ratio}", share, 0.93, 0.97, "share")
    for looks, words in ((1, "one look"), (2, "two looks")):
        share = simulation.coverage(noise, SIX, looks, TRIALS)
        yield proof("coverage", f"6 strategies together, {words}", share, 0.95, None, "share")


def power(noise: simulation.Noise, how: str) -> Iterator[Proof]:
    """To find a planted slow-down among six strategies, in eight launches and one look."""
    for ratio, least in ((1.05, 0.95), (1.10, 0.99)):
        share = simulation.power(noise, ratio, len(SIX), TRIALS)
        yield proof("power", f"{ratio - 1:+.0%} is found, {how}", share, least, None, "share")


def simulated_power() -> Iterator[Proof]:
    """With a launch's deviation as seen on a shared 2-core machine, 1.22 %."""
    return power(simulation.normal_noise(np.random.default_rng(1), launch_sd=0.0122), "simulated")


PROOFS: dict[str, dict[str, Callable[[], Iterator[Proof]]]] = {
    "quick": {
        "known duration": proofs.known_durations,
        "overhead": proofs.overhead,
        "known bytes": proofs.known_bytes,
    },
    "standard": {
        "agreement": proofs.agreement,
        "identical code": lambda: proofs.identical_code(12),
        "one after the other": lambda: proofs.one_after_the_other(6),
        "busy machine": lambda: proofs.busy_machine(5, 3.0),
        "coverage": coverage,
        "power": simulated_power,
        "GPU": proofs.device,
    },
    "full": {
        "identical code": lambda: proofs.identical_code(100),
        "one after the other": lambda: proofs.one_after_the_other(100),
        "busy machine": lambda: proofs.busy_machine(10, 4.0),
    },
}
"""By level; each level has those of the one before it, or its own of the same name."""


def at_level(level: str) -> dict[str, Callable[[], Iterator[Proof]]]:
    """The proofs of a level, in order."""
    found: dict[str, Callable[[], Iterator[Proof]]] = {}
    for name, mine in PROOFS.items():
        found |= mine
        if name == level:
            break
    return found


def prove(process: Process, cell: Cell) -> Iterator[Any]:
    """One proof, or one launch of identical code whose log-ratio is recorded."""
    (name,) = cell.strategies
    process.about_to(str(cell.group), "", name)
    if name == LAUNCH:
        found = proofs.identical(LAUNCH_SECONDS, cell.launch)
        yield proofs.shown(LAUNCH, f"log-ratio of identical code, launch {cell.launch}", found.log_ratio, "")
    else:
        yield from at_level(cell.scope.level)[name]()
