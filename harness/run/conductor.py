"""Runs jobs as worker processes: one after the other when they time, side by side when they only check.

A strategy that raises costs a status. One that kills or hangs its process is named by the worker's note, gets the
status ``crashed`` or ``timeout``, and the rest of the job goes on in a fresh process without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import harness
from harness.records.schema import CaseStatus, CellEnd, Status, as_record
from harness.records.store import Journal, Record
from harness.run.jobs import NOTE_BYTES, Cell, Job, how_it_ended, read_note
from harness.run.progress import Reporter

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc's thresholds, fixed in CPU workers: left to move, runs of one script differ up to ninefold by page faults."""

POLL_SECONDS = 0.5
LONGEST_MESSAGE = 1 << 28
MESSAGE = {"cell", "seconds", "records"}
Ending = Literal["ended", "timeout", "garbage"]


class WorkerError(RuntimeError):
    """A worker that ended before it touched any strategy: the installation is broken, not a strategy."""


class GarbageError(RuntimeError):
    """A worker's pipe carried something that is no message."""


class OutOfTimeError(RuntimeError):
    """The budget is spent; what was running has been stopped."""


class Child:
    """A worker process, its note and what it has said so far."""

    def __init__(self, job: Job, caches: Path, scratch: Path) -> None:
        self.job = job
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - read when the process has ended
        stem = scratch / str(time.monotonic_ns())
        self._note, self._job = stem.with_suffix(".note"), stem.with_suffix(".json")
        self._note.write_bytes(bytes(NOTE_BYTES))
        self._job.write_text(job.to_json())
        # -P: a file called triton.py in the current folder must not pass for the package
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.run.worker", str(self._job), str(self._note)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
            env=_environment(job, caches), start_new_session=True,
        )  # fmt: skip
        self._rest = b""
        self._seen = b""
        self._alive_at = time.monotonic()
        self.done: set[str] = set()
        self.error = ""

    @property
    def note(self) -> tuple[str, str, str] | None:
        """(group, strategy, what) that the worker is at; None where it has named nothing yet.

        Where the note is there but cannot be read, something in the worker has written over it: then the blame goes
        to the strategy of the cell if that has but one, else to all of it.
        """
        text = self._note.read_bytes()
        found = read_note(text)
        if found is None and any(text) and (left := self.job.without(frozenset(self.done)).cells):
            cell = left[0]
            return str(cell.group), cell.strategies[0] if len(cell.strategies) == 1 else "", f"{cell.kind} cell"
        return found

    @property
    def finished(self) -> bool:
        """Whether all its cells are done."""
        return self.done >= {cell.name for cell in self.job.cells}

    def idle_seconds(self) -> float:
        """Time since the worker last said or noted something."""
        note = self._note.read_bytes()
        if note != self._seen:
            self._seen, self._alive_at = note, time.monotonic()
        return time.monotonic() - self._alive_at

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """Messages that have come, and whether that was the last of them.

        Raises:
            GarbageError: something that is no message: a strategy has written into the pipe.
        """
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        self._alive_at = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        names = {cell.name for cell in self.job.cells} - self.done
        try:
            found = [json.loads(line) for line in lines]
            if len(self._rest) > LONGEST_MESSAGE or any(set(m) != MESSAGE or m["cell"] not in names for m in found):
                raise ValueError
        except (ValueError, TypeError):
            raise GarbageError from None
        return found, not data

    def stop(self) -> None:
        """Kill the process and all that it started; ``error`` is the last line that went to standard error."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._note.unlink(missing_ok=True)
        self._job.unlink(missing_ok=True)
        self.error = self._last_error()
        self._errors.close()

    def _last_error(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 65536))
        lines = [x.strip() for x in self._errors.read().decode(errors="replace").splitlines() if x.strip()]
        return lines[-1].replace(str(Path.home()), "~")[:300] if lines else ""


def _environment(job: Job, caches: Path) -> dict[str, str]:
    """The worker's: threads, caches and allocator are ours, and nothing switches the compiler off behind our back."""
    root = str(Path(harness.__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads),
        "PYTHONHASHSEED": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    for name in ("TRITON_INTERPRET", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"):
        environment.pop(name, None)
    if job.device == "cpu" and job.allocator == "fixed":
        environment |= ALLOCATOR
    # what lies on the stack shifts by the size of the environment, and some code is slower at some addresses
    environment["LAYERBENCH_PADDING"] = "-" * random.Random(f"{job.seed} {job.cells[0].name}").randrange(4096)
    return environment


def compile_caches(scratch: Path) -> Path:
    """Where compilers keep what they have made, from run to run: keyed by source and version, so never stale."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerbench"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return scratch / "caches"
    return folder


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
                        ended = self._listen(key.data)
                        if ended is not None:
                            selector.unregister(key.fileobj)
                            waiting += self._ended(running.pop(key.data.process.pid), ended)
                    for child in list(running.values()):
                        if child.idle_seconds() > self._timeout:
                            selector.unregister(child.process.stdout)  # type: ignore[arg-type]
                            waiting += self._ended(running.pop(child.process.pid), "timeout")
                    self._show(running)
                    if self._deadline is not None and time.monotonic() > self._deadline:
                        raise OutOfTimeError("the budget is spent")
            finally:
                for child in running.values():
                    child.stop()

    def _start(self, job: Job, fresh_caches: bool) -> Child:
        self.attempt += 1
        caches = Path(tempfile.mkdtemp(dir=self._scratch)) if fresh_caches else compile_caches(self._scratch)
        return Child(job, caches, self._scratch / "workers")

    def _listen(self, child: Child) -> Ending | None:
        """Take what a worker says; how it has ended, if it has."""
        try:
            messages, last = child.messages()
        except GarbageError:
            return "garbage"
        for message in messages:
            self.write(message["records"], message["cell"], message["seconds"])
            child.done.add(message["cell"])
        return "ended" if last or child.finished else None

    def write(self, records: Sequence[Any], cell: str, seconds: float = 0.0) -> None:
        """Write a closed cell."""
        end = CellEnd(seconds)
        self._journal.write([*records, end], cell, self.attempt)
        self.done.add(cell)
        self._reporter.done()
        for record in records:
            self._heard(record)
        self._heard(as_record(end) | {"cell": cell})

    def _show(self, running: dict[int, Child]) -> None:
        at = [child.note for child in running.values()]
        text = " | ".join(" · ".join(filter(None, map(str.strip, note))) for note in at if note)
        self._reporter.now(text or "starting")

    def _ended(self, child: Child, how: Ending) -> list[Job]:
        """Account for a worker that has ended; what is left of its job, without the strategy that ended it."""
        note = child.note
        if how == "ended" and not child.finished:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it may have closed its pipe and gone on
                child.process.wait(5)
        code = child.process.poll()
        child.stop()
        left = child.job.without(frozenset(child.done))
        if not left.cells:
            return []
        error = child.error
        if note is None:
            raise WorkerError(f"a worker ended before its first cell: {error or how_it_ended(code)}")
        _, strategy, what = note
        if how == "timeout":
            status: Status = "timeout"
            reason = f"no sign of life for {self._timeout:.0f} s in: {what}"
        else:
            status = "crashed"
            reason = f"{how_it_ended(code) if how == 'ended' else 'wrote into the pipe of the harness'} in: {what}"
            if code and code > 0 and error:
                reason += f" ({error})"
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
        found = CaseStatus(layer, strategy, status, reason, cell.kind, g.dims, g.dtype, g.device, threads)
        self._journal.write([found])
        self._heard(as_record(found))
