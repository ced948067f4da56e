"""``selftest``: the meter's proofs on this machine, and their records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from harness.analyse import simulation
from harness.records.meter import Proof
from harness.records.schema import CellEnd, Group
from harness.records.store import Journal, Record, Run, read
from harness.run import opening
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job, Scope
from harness.run.pool import LocalPool
from harness.run.progress import Reporter
from harness.run.wanted import Wanted

TIMEOUT = 1200.0
LAUNCH = "a launch"
QUICK = ("known duration", "overhead", "known bytes")
LEVELS = {
    "quick": QUICK,
    "standard": (
        *QUICK, "agreement", "identical code", "one after the other", "busy machine", "coverage", "GPU",
        "stale answers",
    ),
    "full": (
        *QUICK, "agreement", "identical code, 100 times", "one after the other, 100 times",
        "pytest-benchmark, 100 times", "busy machine", "coverage", "GPU",
        "stale answers",
    ),
}  # fmt: skip
"""Names of the proofs of each level (see proofs.py), which run in workers; ``quick`` ones with every benchmark."""
PLANTED = {1.05: 0.95, 1.10: 0.99}
"""Slow-downs, and how often each must be found at least."""
COMPARISONS, TRIALS = 5, 1000
LAUNCHES = {"standard": 12, "full": 24}
"""Of identical code, from which the power to find a slow-down is resampled."""
SECONDS = {"standard": 150.0, "full": 1800.0}


def proof_job(level: str) -> Job:
    """All proofs of a level, in one pinned process."""
    group = Group("", "", "", "cpu", 1)
    cells = tuple(Cell("proofs", (name,), group, scope=Scope(level)) for name in LEVELS[level])
    return Job(cells, (), "cpu", 1, 0, 0.0)


def power(noise: simulation.Noise, how: str) -> Iterator[Proof]:
    """Whether planted slow-downs are found among six strategies, in eight launches and one look."""
    for ratio, least in PLANTED.items():
        share = simulation.power(noise, ratio, COMPARISONS, TRIALS)
        word: Literal["held", "failed"] = "held" if share >= least else "failed"
        yield Proof("power", f"{ratio - 1:+.0%} is found, {how}", share, least, None, "share", word)


def selftest(level: str, out: Path | None, label: Callable[[Record, str], Path]) -> Run:
    """Run the proofs of a level.

    Args:
        label: names the folder of this machine's results where ``out`` is None.

    Raises:
        UsageError, StoreError: the folder cannot be used.
        WorkerError: workers cannot even start.
    """
    if out is not None:
        opening.check_folder(out, False)
    with tempfile.TemporaryDirectory(prefix="layerbench-") as temporary, Reporter() as reporter:
        scratch = Path(temporary)
        described = opening.describe((), scratch, TIMEOUT, reporter)
        folder = out or label(described.environment, "selftest")
        journal = Journal(folder)
        try:
            wanted = Wanted(profile="selftest", scope=Scope(level), measure=False)
            journal.write(
                [opening.header_without_groups(wanted, "cpu"), described.environment, CellEnd(0.0)], opening.HEADER, 1
            )
            job = proof_job(level)
            launches = LAUNCHES[level]
            reporter.estimate(SECONDS[level], len(job.cells) + launches)
            conductor = Conductor(journal, reporter, LocalPool(scratch), TIMEOUT, attempt=1)
            conductor.run([job])
            group = job.cells[0].group
            for launch in range(1, launches + 1):
                cell = Cell("proofs", (LAUNCH,), group, launch=launch, scope=Scope(level))
                conductor.run([Job((cell,), (), "cpu", 1, 0, 0.0)])
            recorded = [r["figure"] for r in read(folder).of("proof") if r["proof"] == LAUNCH]
            noise = simulation.recorded_noise(np.random.default_rng(2), recorded)
            found = power(noise, f"resampled from {len(recorded)} recorded launches")
            journal.write([*found, CellEnd(0.0)], "power of recorded launches", 1)
        finally:
            journal.close()
    return read(folder)
