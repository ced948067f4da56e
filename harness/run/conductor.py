"""Runs jobs as worker processes: one after the other when they time, side by side when they only check.

A strategy that raises costs a status. One that kills or hangs its process is named by the worker's note, gets the
status ``crashed`` or ``timeout``, and the rest of the job goes on in a fresh process without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.records.schema import CaseStatus, CellEnd, Status, as_record
from harness.records.store import Journal, Record
from harness.run.jobs import NOTE_BYTES, Cell, Job, read_note
from harness.run.progress import Reporter

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc's thresholds, fixed in CPU workers: left to move, runs of one script differ up to ninefold by page faults."""

POLL_SECONDS = 0.5


class WorkerError(RuntimeError):
    """A worker that ended before it touched any strategy: the installation is broken, not a strategy."""


class OutOfTimeError(RuntimeError):
    """The budget is spent; what was running has been stopped."""


class Child:
    """A worker process, its note and what it has said so far."""

    def __init__(self, job: Job, caches: Path, scratch: Path) -> None:
        self.job = job
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - read when the process has ended
        self._note = scratch / f"note-{time.monotonic_ns()}"
        self._note.write_bytes(bytes(NOTE_BYTES))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.run.worker", str(self._note)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=_environment(job, caches), start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(job.to_json().encode() + b"\n")
            self.process.stdin.close()
        self._rest = b""
        self._seen = b""
        self._alive_at = time.monotonic()
        self.done: set[str] = set()

    @property
    def note(self) -> tuple[str, str, str] | None:
        """(group, strategy, what) that the worker is at."""
        return read_note(self._note.read_bytes())

    def idle_seconds(self) -> float:
        """Time since the worker last said or noted something."""
        note = self._note.read_bytes()
        if note != self._seen:
            self._seen, self._alive_at = note, time.monotonic()
        return time.monotonic() - self._alive_at

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """Messages that have come, and whether that was the last of them."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        self._alive_at = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], not data

    def stop(self) -> None:
        """Kill the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._note.unlink(missing_ok=True)

    def last_error(self) -> str:
        """The last line that went to standard error."""
        self._errors.seek(0)
        lines = [x.strip() for x in self._errors.read().decode(errors="replace").splitlines() if x.strip()]
        return lines[-1][:300] if lines else ""


def _environment(job: Job, caches: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads),
        "PYTHONHASHSEED": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    environment.pop("TRITON_INTERPRET", None)
    if job.interpret:
        environment["TRITON_INTERPRET"] = "1"
    if job.device == "cpu":
        environment |= ALLOCATOR
    return environment


class Conductor:
    """Owns the journal of a run.

    Args:
        done: cells that an earlier attempt has closed.
        timeout: seconds without a sign of life after which a worker is given up.
        deadline: of ``time.monotonic()``, or None.
        heard: called with each record that is written.
    """

    def __init__(
        self,
        journal: Journal,
        reporter: Reporter,
        scratch: Path,
        timeout: float,
        done: frozenset[str] = frozenset(),
        attempt: int = 0,
        deadline: float | None = None,
        heard: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._journal, self._reporter, self._scratch = journal, reporter, scratch
        self._timeout, self._deadline, self._heard = timeout, deadline, heard
        self.done = set(done)
        self.attempt = attempt

    def run(self, jobs: Sequence[Job], parallel: int = 1, fresh_caches: bool = False) -> None:
        """Do the jobs, at most ``parallel`` at a time; ``fresh_caches`` gives each empty compile caches.

        Raises:
            OutOfTimeError: the deadline has come; running workers are stopped, finished cells are written.
            WorkerError: a worker ended before it named what it was doing.
        """
        waiting = [left for job in jobs if (left := job.without(frozenset(self.done))).cells]
        self._reporter.done(sum(len(j.cells) for j in jobs) - sum(len(j.cells) for j in waiting))
        running: dict[int, Child] = {}
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or running:
                    while waiting and len(running) < parallel:
                        child = self._start(waiting.pop(0), fresh_caches)
                        running[child.process.pid] = child
                        selector.register(child.process.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
                    for key, _ in selector.select(POLL_SECONDS):
                        if not self._listen(key.data):
                            selector.unregister(key.fileobj)
                            waiting += self._ended(running.pop(key.data.process.pid))
                    for child in list(running.values()):
                        if child.idle_seconds() > self._timeout:
                            selector.unregister(child.process.stdout)  # type: ignore[arg-type]
                            waiting += self._ended(running.pop(child.process.pid), timed_out=True)
                    self._show(running)
                    if self._deadline is not None and time.monotonic() > self._deadline:
                        raise OutOfTimeError("the budget is spent")
            finally:
                for child in running.values():
                    child.stop()

    def _start(self, job: Job, fresh_caches: bool) -> Child:
        self.attempt += 1
        caches = Path(tempfile.mkdtemp(dir=self._scratch)) if fresh_caches else self._scratch / "caches"
        return Child(job, caches, self._scratch / "workers")

    def _listen(self, child: Child) -> bool:
        messages, last = child.messages()
        for message in messages:
            self.write(message["records"], message["cell"], message["seconds"])
            child.done.add(message["cell"])
        return not last

    def write(self, records: Sequence[Any], cell: str, seconds: float = 0.0) -> None:
        """Write a closed cell."""
        end = CellEnd(seconds)
        self._journal.write([*records, end], cell, self.attempt)
        self.done.add(cell)
        self._reporter.done()
        for record in records:
            self._heard(record)

    def _show(self, running: dict[int, Child]) -> None:
        at = [child.note for child in running.values()]
        text = " | ".join(f"{note[0]} · {note[1]} · {note[2]}" for note in at if note)
        self._reporter.now(text or "starting")

    def _ended(self, child: Child, timed_out: bool = False) -> list[Job]:
        """Account for a worker that has ended; what is left of its job, without the strategy that ended it."""
        note = child.note
        if not timed_out:
            child.process.wait()
        code = child.process.returncode
        child.stop()
        left = child.job.without(frozenset(child.done))
        if not left.cells:
            return []
        error = child.last_error()
        if note is None:
            raise WorkerError(f"a worker ended before its first cell: {error or f'exit code {code}'}")
        _, strategy, what = note
        if timed_out:
            status: Status = "timeout"
            reason = f"no sign of life for {self._timeout:.0f} s in: {what}"
        else:
            status, reason = "crashed", f"{_how(code)} in: {what}"
            if code and code > 0 and error:
                reason += f" ({error})"
        cell = left.cells[0]
        self._blame(cell, strategy, status, reason)
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
        found = CaseStatus(layer, strategy, status, reason, cell.kind, g.dims, g.dtype, g.device, threads)
        self._journal.write([found])
        self._heard(as_record(found))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by signal {-code} ({name})" + (
            ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        )
    return f"ended with exit code {code}"
