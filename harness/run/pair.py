"""Only the launches of a comparison, without gate, memory and first calls.

Each launch judges the answers that it has timed (see measuring.py), so a strategy that is wrong there is not compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.layers.discover import scan
from harness.records.store import Journal, Record, Run, read
from harness.run import estimates, opening
from harness.run.conductor import Conductor
from harness.run.pool import LocalPool
from harness.run.progress import Reporter
from harness.run.wanted import Wanted


def launch(wanted: Wanted, sources: tuple[str, ...], folder: Path, timeout: float) -> Run:
    """Time strategies in turns with their baseline, in as many launches as are wanted.

    What cannot be timed is not tried, and after a launch in which something went wrong there is no other: the records
    say why.

    Args:
        sources: where layers and strategies are found.
        folder: where the records go, empty or not there yet.
        timeout: seconds without a sign of life after which a worker is given up.

    Raises:
        UsageError, StoreError, SourceError: see there; nothing has run yet.
        WorkerError: workers cannot even start.
    """
    scan(sources)
    opening.check_folder(folder, resume=False)
    with tempfile.TemporaryDirectory(prefix="layerbench-") as temporary, Reporter() as reporter:
        scratch = Path(temporary)
        described = opening.describe(sources, scratch, timeout, reporter)
        planned = opening.plan(wanted, described, sources)
        groups = [group for group in planned.groups if len(planned.strategies[group]) > 1]
        journal, trouble = Journal(folder), []

        def heard(record: Record) -> None:
            if record["kind"] == "status":
                trouble.append(record)

        try:
            opening.write_header(journal, planned, described, measure=True, attempt=1, declared=None)
            conductor = Conductor(journal, reporter, LocalPool(scratch), timeout, attempt=1, heard=heard)
            if groups:
                _, minutes = estimates.minutes(planned, 1)
                reporter.estimate(60 * minutes, planned.launches * len(groups) * len(planned.profile.passes))
            for number in range(1, planned.launches + 1):
                if groups and not trouble:
                    conductor.run(planned.launch_jobs(number, groups, frozenset()))
        finally:
            journal.close()
    return read(folder)
