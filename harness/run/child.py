"""A worker process, its note and its pipe, on the machine where this runs."""

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
from pathlib import Path
from typing import Any

import harness
from harness.run.jobs import CACHES, HELD, NOTE_BYTES, Job, read_note

WORKER = "harness.run.worker"

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc's thresholds, fixed in CPU workers: left to move, runs of one script differ up to ninefold by page faults."""

LONGEST_MESSAGE = 1 << 28
LONGEST_START = 60.0
"""Seconds for which the imports of a held worker are waited for; after that it is watched like any other."""
MESSAGE = {"cell", "seconds", "records"}


class GarbageError(RuntimeError):
    """A worker's pipe carried something that is no message."""


class Child:
    """A worker process, its note and what it has said so far.

    Args:
        scratch: a folder for its files, and for compile caches where they are to be empty or cannot be kept.
        program: the module that it runs.
        held: it stops when its imports are done, until ``go``.

    Raises:
        OSError: its files cannot be written.
    """

    node = ""

    def __init__(self, job: Job, scratch: Path, program: str = WORKER, held: bool = False) -> None:
        self.job = job
        caches = Path(tempfile.mkdtemp(dir=_made(scratch))) if job.cold else compile_caches(scratch)
        scratch = scratch / "workers"
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - read when the process has ended
        stem = scratch / str(time.monotonic_ns())
        self._note, self._job = stem.with_suffix(".note"), stem.with_suffix(".json")
        self._note.write_bytes(bytes(NOTE_BYTES))
        self._job.write_text(job.to_json())
        # -P: a file called triton.py in the current folder must not pass for the package
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", program, str(self._job), str(self._note), *([HELD] if held else [])],
            stdin=subprocess.PIPE if held else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
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

    def wait_until_held(self) -> None:
        """Until the imports of a held worker are done, or it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            if selector.select(LONGEST_START):
                os.read(self.fileno(), 1)

    def go(self) -> None:
        """Let a held worker begin."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._alive_at = time.monotonic()

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
        data = os.read(self.fileno(), 1 << 20)
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

    def fileno(self) -> int:
        """Of its pipe."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def end(self, grace: float = 0.0) -> int | None:
        """Stop it; its exit code where it had ended by itself, or does so within ``grace`` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        code = self.process.poll()
        self.stop()
        return code

    def stop(self) -> None:
        """Kill the process and all that it started; ``error`` is the last line that went to standard error."""
        if self._errors.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
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
        **{name: str(_made(caches / folder)) for name, folder in CACHES.items()},
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    for name in ("TRITON_INTERPRET", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"):
        environment.pop(name, None)
    if job.device == "cpu" and job.allocator == "fixed":
        environment |= ALLOCATOR
    # what lies on the stack shifts by the size of the environment, and some code is slower at some addresses
    environment["LAYERBENCH_PADDING"] = "-" * random.Random(f"{job.seed} {job.cells[0].name}").randrange(4096)
    return environment


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compile_caches(scratch: Path) -> Path:
    """Where compilers keep what they have made, from run to run: keyed by source and version, so never stale."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerbench"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return scratch / "caches"
    return folder
