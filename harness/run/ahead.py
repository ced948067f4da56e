"""``aot``: every Triton kernel in every signature, compiled for targets that need not be there, in worker processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.layers.discover import scan
from harness.layers.kernel import TARGETS
from harness.records.schema import Group, StrategyFacts
from harness.records.store import Journal, Record
from harness.run import opening
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job
from harness.run.pool import LocalPool
from harness.run.progress import Reporter
from harness.run.wanted import UsageError

SECONDS = 3.0
"""For a kernel in all its signatures and one target, roughly; nearly nothing where Triton has compiled it before."""


@dataclass(frozen=True)
class Ahead:
    """Records of what was compiled, and statuses of what could not even be tried."""

    compiled: tuple[Record, ...]
    statuses: tuple[Record, ...]


def compile_all(sources: tuple[str, ...], layers: Sequence[str], targets: Sequence[str], timeout: float) -> Ahead:
    """Compile the kernels of the layers (all where none is named) for the targets (likewise).

    Raises:
        UsageError, SourceError: a layer, target or source that does not exist; nothing has run yet.
        WorkerError: workers cannot even start.
    """
    known = sorted({entry.layer for entry in scan(sources)})
    for what, given, choices in (("layer", layers, known), ("target", targets, TARGETS)):
        for name in given:
            if name not in choices:
                raise UsageError(f"unknown {what} {name!r}: choose from {', '.join(choices)}")
    found: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="layerbench-") as temporary, Reporter() as reporter:
        scratch = Path(temporary)
        described = opening.describe(sources, scratch, timeout, reporter)
        mine = [s for s in described.strategies if s.layer in (layers or known)]
        jobs = [_job(mine, target, sources) for target in targets or TARGETS]
        jobs = [job for job in jobs if job.cells]
        parallel = max(1, min(2, len(os.sched_getaffinity(0))))
        kernels = sum(len(s.kernels) for s in mine) * len(jobs)
        reporter.estimate(kernels * SECONDS / parallel, sum(len(job.cells) for job in jobs))
        journal = Journal(scratch / "aot")
        try:
            Conductor(journal, reporter, LocalPool(scratch), timeout, attempt=1, heard=found.append).run(jobs, parallel)
        finally:
            journal.close()
    order = {(target, s.layer, s.strategy): i for i, (s, target) in enumerate((s, t) for s in mine for t in TARGETS)}
    compiled = [r for r in found if r["kind"] == "kernel"]
    compiled.sort(key=lambda r: order[r["target"], r["layer"], r["strategy"]])
    statuses = {(r["layer"], r["strategy"], r["device"]): r for r in found if r["kind"] == "status"}
    return Ahead(tuple(compiled), tuple(statuses.values()))


def _job(strategies: Sequence[StrategyFacts], target: str, sources: tuple[str, ...]) -> Job:
    """One target: the strategies that have kernels, and those of which that is not known because they don't import."""
    cells = [
        Cell("compile", (s.strategy,), Group(s.layer, "", "", target, 1)) for s in strategies if s.kernels or s.error
    ]
    return Job(tuple(cells), sources, "cpu", 1, 0, 0.0)
