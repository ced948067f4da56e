"""The far end of a launch: what an engine runs on a node, to start the very same worker process and to hear it.

It knows neither the engine nor any layer. One launch runs at a time, so that nothing is timed beside something else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import selectors
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness.layers.discover import Entry, SourceError, scan
from harness.run.child import Child, GarbageError
from harness.run.jobs import Job

ASKED = ("torch", "triton")


@dataclass(frozen=True)
class Heard:
    """What a worker has said in a while.

    Attributes:
        messages, last, garbage: see ``Child.messages``; ``garbage`` where it raised.
        note: what it is at.
        idle: seconds without a sign of life.
    """

    messages: list[dict[str, Any]]
    last: bool = False
    garbage: bool = False
    note: tuple[str, str, str] | None = None
    idle: float = 0.0


class Seat:
    """A device of a node.

    Args:
        program: the module that worker processes run.
    """

    def __init__(self, program: str) -> None:
        with suppress(PermissionError):  # engines give their own daemons precedence; the record says what holds
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        self._program = program
        self._scratch = Path(tempfile.mkdtemp(prefix="layerbench-"))
        self._child: Child | None = None

    def facts(self, sources: tuple[str, ...]) -> dict[str, str]:
        """Of this node, see ``facts``."""
        return facts(sources)

    def hear(self, job: str | None, seconds: float) -> Heard:
        """Start a job, where one is given, and wait for a while for what its worker says.

        Raises:
            OSError: the worker's files cannot be written.
        """
        if job is not None:
            self.end(0.0)
            self._child = Child(Job.from_json(job), self._scratch, self._program)
        child = self._child
        assert child is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child, selectors.EVENT_READ)
            if not selector.select(seconds):
                return Heard([], note=child.note, idle=child.idle_seconds())
        try:
            messages, last = child.messages()
        except GarbageError:
            return Heard([], garbage=True, note=child.note)
        child.done |= {message["cell"] for message in messages}
        return Heard(messages, last, note=child.note)

    def end(self, grace: float) -> tuple[int | None, str]:
        """End the worker; its exit code (see ``Child.end``) and the last line of its standard error."""
        child, self._child = self._child, None
        return (child.end(grace), child.error) if child else (None, "")

    def leave(self) -> None:
        """End the worker and remove its files."""
        self.end(0.0)
        shutil.rmtree(self._scratch, ignore_errors=True)


def facts(sources: tuple[str, ...]) -> dict[str, str]:
    """Versions of what a launch depends on, and a digest of all source; empty where there is none. Loads no torch."""
    found = {"python": platform.python_version(), "layerbench": harness.__version__}
    for name in ASKED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    try:
        return found | {"source": _digest(sources)}
    except SourceError:
        return found | {"source": ""}


def _digest(sources: tuple[str, ...]) -> str:
    sha = hashlib.sha256()
    for name, path in sorted(_files(sources)):
        sha.update(f"{name}\0".encode() + path.read_bytes())
    return sha.hexdigest()


def _files(sources: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The program's own files and the sources', under names that do not depend on where they lie."""
    ours = Path(harness.__file__).parent
    for path in ours.rglob("*.py"):
        yield f"harness/{path.relative_to(ours)}", path
    folders: dict[Path, Entry] = {}
    for entry in scan(sources):
        if entry.alone:
            yield f"{entry.layer}/{entry.path.name}", entry.path
        else:
            folders.setdefault(entry.path.parent, entry)
    for folder, entry in folders.items():
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{entry.layer}/{path.relative_to(folder)}", path
