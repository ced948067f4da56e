"""Where workers run. The conductor decides what they do and what their end means; a pool starts and hears them."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.records.store import Record
from harness.run.child import WORKER, Child
from harness.run.jobs import Job

MOST_TOGETHER = 4
"""Processes that are started side by side, to begin one after the other; never more than there are processors."""


class LostError(RuntimeError):
    """A worker has gone with the machine that it ran on, so that no strategy is to blame; the text says how."""


class Launch(Protocol):
    """A worker process somewhere; see ``Child``, which is one on this machine.

    All but the attributes may raise LostError.
    """

    job: Job
    done: set[str]
    error: str
    node: str

    @property
    def note(self) -> tuple[str, str, str] | None:
        """(group, strategy, what) that the worker is at."""

    @property
    def finished(self) -> bool:
        """Whether all its cells are done."""

    def idle_seconds(self) -> float:
        """Time since the worker last said or noted something."""

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """Messages that have come, and whether that was the last of them; GarbageError where they are none."""

    def end(self, grace: float = 0.0) -> int | None:
        """Stop it; its exit code where it had ended by itself, or does so within ``grace`` seconds."""


class Pool(Protocol):
    """A place for workers.

    Attributes:
        spreads: whether each group may run on another machine, so that jobs are cut by group.
        slots: launches that are timed side by side, each on a device of its own.
        waiting: jobs that have been offered and not been started.
    """

    spreads: bool

    @property
    def slots(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    def offer(self, job: Job) -> None:
        """Take a job, to be started when there is room."""

    def start(self, parallel: int) -> Launch | None:
        """Start a job; None where there is none, or no room: at most ``parallel`` run at a time on one machine."""

    def ready(self, seconds: float) -> Sequence[Launch]:
        """Launches that have something to say, within some seconds."""

    def release(self, launch: Launch) -> None:
        """Take back what a launch has had; it has been ended, or is lost."""

    def clear(self) -> None:
        """Forget what waits, and stop what runs."""

    def news(self) -> Sequence[Record]:
        """What is to be written down of the place itself since the last call: ``environment`` records of machines."""

    def state(self) -> str:
        """The place in a few words, for the live line."""


class LocalPool:
    """Worker processes on this machine.

    Those that run one after the other are started a few at a time: what they import takes longer than many a cell, and
    disturbs nobody while none of them has begun.

    Args:
        scratch: a folder for their files.
        program: the module that they run.
    """

    spreads = False
    slots = 1

    def __init__(self, scratch: Path, program: str = WORKER) -> None:
        self._scratch, self._program = scratch, program
        self._waiting: deque[Job] = deque()
        self._held: deque[Child] = deque()
        self._running: list[Child] = []

    @property
    def waiting(self) -> int:
        """Jobs not begun yet."""
        return len(self._waiting) + len(self._held)

    def offer(self, job: Job) -> None:
        """See ``Pool``."""
        self._waiting.append(job)

    def start(self, parallel: int) -> Child | None:
        """See ``Pool``."""
        if not self.waiting or len(self._running) >= parallel:
            return None
        if not self._held:
            self._prepare(1 if parallel > 1 else min(MOST_TOGETHER, len(os.sched_getaffinity(0)), len(self._waiting)))
        child = self._held.popleft()
        child.go()
        self._running.append(child)
        return child

    def _prepare(self, together: int) -> None:
        """Start the next processes; where they are several, up to where each would begin."""
        for _ in range(together):
            self._held.append(Child(self._waiting.popleft(), self._scratch, self._program, held=together > 1))
        if together > 1:
            for child in self._held:
                child.wait_until_held()

    def ready(self, seconds: float) -> list[Child]:
        """See ``Pool``."""
        with selectors.DefaultSelector() as selector:
            for child in self._running:
                selector.register(child, selectors.EVENT_READ)
            return [key.fileobj for key, _ in selector.select(seconds)]  # type: ignore[misc]

    def release(self, launch: Launch) -> None:
        """See ``Pool``."""
        self._running = [child for child in self._running if child is not launch]

    def clear(self) -> None:
        """See ``Pool``."""
        self._waiting.clear()
        for child in (*self._running, *self._held):
            child.stop()
        self._running = []
        self._held.clear()

    def news(self) -> tuple[Record, ...]:
        """The header of a run has the environment of this machine."""
        return ()

    def state(self) -> str:
        """Nothing: it is the machine that one sits at."""
        return ""
