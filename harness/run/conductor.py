"""Runs jobs as worker processes: one after the other when they time, side by side when they only check.

A strategy that raises costs a status. One that kills or hangs its process is named by the worker's note, gets the
status ``crashed`` or ``timeout``, and the rest of the job goes on in a fresh process without it. Where the process is
lost with its machine nobody is blamed: what is left of the job goes to another machine, a few times.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from harness.records.advice import ENDED, with_next
from harness.records.schema import CaseStatus, CellEnd, Status, as_record
from harness.records.store import Journal, Record
from harness.run.child import GarbageError
from harness.run.jobs import METER_TOUCHED, Cell, Job, how_it_ended
from harness.run.pool import Launch, LostError, Pool
from harness.run.progress import Reporter

POLL_SECONDS = 0.5
MOST_LOSSES = 3
"""Machines that may be lost in one cell before it is given up."""
SHOWN = 3
Ending = Literal["ended", "timeout", "garbage"]


class WorkerError(RuntimeError):
    """A worker that ended before it touched any strategy: the installation is broken, not a strategy."""


class OutOfTimeError(RuntimeError):
    """The budget is spent; what was running has been stopped."""


class Conductor:
    """Owns the journal of a run.

    Args:
        pool: where workers run.
        done: cells that an earlier attempt has closed.
        timeout: seconds without a sign of life after which a worker is given up.
        deadline: of ``time.monotonic()``, or None.
        heard: called with each record that is written.
    """

    def __init__(
        self,
        journal: Journal,
        reporter: Reporter,
        pool: Pool,
        timeout: float,
        done: frozenset[str] = frozenset(),
        attempt: int = 0,
        deadline: float | None = None,
        heard: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._journal, self._reporter, self._pool = journal, reporter, pool
        self._losses: Counter[str] = Counter()
        self._since: dict[Launch, float] = {}
        self._failures = 0
        self._timeout, self._deadline, self._heard = timeout, deadline, heard
        self.done = set(done)
        self.attempt = attempt

    def run(self, jobs: Sequence[Job], parallel: int = 1) -> None:
        """Do the jobs, at most ``parallel`` at a time on one machine.

        Raises:
            OutOfTimeError: the deadline has come; running workers are stopped, finished cells are written.
            WorkerError: a worker ended before it named what it was doing.
        """
        waiting = [left for job in jobs if (left := job.without(frozenset(self.done))).cells]
        self._reporter.done(sum(len(j.cells) for j in jobs) - sum(len(j.cells) for j in waiting))
        pool = self._pool
        self._offer(waiting)
        running: list[Launch] = []
        try:
            while pool.waiting or running:
                since = time.monotonic()  # before its start, which may take as long as its imports
                while (launch := pool.start(parallel)) is not None:
                    self.attempt += 1
                    running.append(launch)
                    self._since[launch] = since
                    since = time.monotonic()
                for launch in pool.ready(POLL_SECONDS):
                    self._hear(launch, running)
                for launch in list(running):
                    if launch.idle_seconds() > self._timeout:
                        self._hear(launch, running, "timeout")
                for record in pool.news():
                    self._journal.write([record])
                self._show(running)
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise OutOfTimeError("the budget is spent")
        finally:
            pool.clear()

    def _offer(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for part in job.by_group() if self._pool.spreads else [job]:
                self._pool.offer(part)

    def _hear(self, launch: Launch, running: list[Launch], how: Ending | None = None) -> None:
        """Take what a worker says; where that was the last of it, account for its end and offer what is left."""
        try:
            how = how or self._listen(launch)
            if how is None:
                return
            left = self._ended(launch, how)
        except LostError as lost:
            left = self._lost(launch, str(lost))
        running.remove(launch)
        del self._since[launch]
        self._pool.release(launch)
        self._offer(left)

    def _listen(self, launch: Launch) -> Ending | None:
        """Write what a worker says; how it has ended, if it has."""
        try:
            messages, last = launch.messages()
        except GarbageError:
            return "garbage"
        for message in messages:
            now, seconds = time.monotonic(), message["seconds"]
            waited, self._since[launch] = max(0.0, now - self._since[launch] - seconds), now
            self.write(message["records"], message["cell"], seconds, launch.node, waited)
            launch.done.add(message["cell"])
        return "ended" if last or launch.finished else None

    def write(
        self, records: Sequence[Any], cell: str, seconds: float = 0.0, node: str = "", waited: float = 0.0
    ) -> None:
        """Write a closed cell."""
        end = CellEnd(seconds, node, waited)
        self._journal.write([*records, end], cell, self.attempt)
        self.done.add(cell)
        self._reporter.done()
        for record in records:
            self._heard(record)
        self._heard(as_record(end) | {"cell": cell})

    def _show(self, running: Sequence[Launch]) -> None:
        at = [" · ".join(filter(None, map(str.strip, note))) for launch in running[:SHOWN] if (note := launch.note)]
        more = f"and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
        lost = f"{self._failures} failed" if self._pool.spreads else ""
        self._reporter.now(" | ".join(filter(None, [self._pool.state(), lost, *at, more])) or "starting")

    def _ended(self, launch: Launch, how: Ending) -> list[Job]:
        """Account for a worker that has ended; what is left of its job, without the strategy that ended it."""
        note = launch.note
        # it may have closed its pipe and gone on
        code = launch.end(5.0 if how == "ended" and not launch.finished else 0.0)
        left = launch.job.without(frozenset(launch.done))
        if not left.cells:
            return []
        error = launch.error
        if note is None:
            what = f"a worker ended before its first cell: {error or how_it_ended(code)}"
            if launch.node:
                raise LostError(f"{launch.node}: {what}")
            raise WorkerError(what)
        _, strategy, what = note
        if how == "timeout":
            status: Status = "timeout"
            reason = f"no sign of life for {self._timeout:.0f} s in: {what}"
        else:
            status = "wrong" if how == "ended" and code == METER_TOUCHED else "crashed"
            reason = f"{how_it_ended(code) if how == 'ended' else 'wrote into the pipe of the harness'} in: {what}"
            if code and code > 0 and error:
                reason += f" ({error})"
        return self._without(left, strategy, status, reason)

    def _lost(self, launch: Launch, reason: str) -> list[Job]:
        """Account for a worker that is gone with its machine; what is left of its job."""
        left = launch.job.without(frozenset(launch.done))
        if not left.cells:
            return []
        cell = left.cells[0]
        self._losses[cell.name] += 1
        if self._losses[cell.name] < MOST_LOSSES:
            self._reporter.say(f"{reason}; {cell.name} is run again", style="yellow")
            return [left]
        strategy = cell.strategies[0] if len(cell.strategies) == 1 else ""
        given_up = f"given up after {MOST_LOSSES} machines were lost in it, the last: {reason}"
        return self._without(left, strategy, "skipped", given_up)

    def _without(self, left: Job, strategy: str, status: Status, reason: str) -> list[Job]:
        """Write why a strategy (all if "") is left out of the first cell that is left; what is left then."""
        cell = left.cells[0]
        if cell.kind == "controls":
            raise WorkerError(f"the controls of the gate cannot run here: {reason}")
        self._blame(cell, strategy, status, reason)
        if cell.kind in ("roofs", "proofs"):  # about no strategy: this one is lost, and the others go on
            self.write([], cell.name)
            rest = left.without(frozenset(self.done))
            return [rest] if rest.cells else []
        rest = left.without(frozenset(self.done), (cell.group, strategy))
        for lost in left.cells:
            if lost.name not in {c.name for c in rest.cells}:
                self.write([], lost.name)
        return [rest] if rest.cells else []

    def _blame(self, cell: Cell, strategy: str, status: Status, reason: str) -> None:
        g = cell.group
        layer = g.layer
        if cell.kind == "describe":
            layer, _, strategy = strategy.partition("/")
        threads = g.threads if g.dims else 0
        reason = with_next(reason, ENDED.get(status, "")) if strategy else reason
        found = CaseStatus(layer, strategy, status, reason, cell.kind, g.dims, g.dtype, g.device, threads)
        self._failures += 1
        self._journal.write([found])
        self._heard(as_record(found))
