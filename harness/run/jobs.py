"""What the conductor asks of a worker: plain data that travels as JSON.

A job is a process: its cells are done in order, and each is written down as it ends.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from dataclasses import dataclass
from typing import Any, Literal

from harness.records.schema import Group

NOTE_BYTES = 4096
GREETING = b"layerbench"
"""Goes before each reply of a subject: anything else in its pipe is known at once, whatever length it claims."""
HELD = "held"
"""Argument of a worker that says when its imports are done, by an empty line, and waits for the end of its input."""
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Variables that tell compilers where to keep what they have made, and the names of those folders."""
DEVICE_LOST = 70
"""Exit code of a worker whose CUDA context a strategy has destroyed."""


METER_TOUCHED = 71
"""Exit code of a worker that times, where a strategy has changed a clock, a setting or a function that it rests on."""


def how_it_ended(code: int | None) -> str:
    """A process's exit code in words; None where it goes on, but has closed its pipe."""
    if code is None:
        return "closed its pipe and went on"
    if code == DEVICE_LOST:
        return "destroyed the CUDA context"
    if code == METER_TOUCHED:
        return "changed what the meter rests on"
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by signal {-code} ({name})" + (
            ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        )
    return f"ended with exit code {code}"


def note_bytes(group: str, strategy: str, what: str) -> bytes:
    """A worker's note of what it is about to do, of fixed size."""
    return json.dumps([group, strategy, what]).encode()[:NOTE_BYTES].ljust(NOTE_BYTES, b"\0")


def read_note(text: bytes) -> tuple[str, str, str] | None:
    """The inverse of note_bytes; None where nothing (or half a note) is written yet."""
    try:
        group, strategy, what = json.loads(text.rstrip(b"\0"))
    except ValueError:
        return None
    return group, strategy, what


PARTS = 4
"""In which a kernel's candidates are compiled, each part a ``try`` cell: processes take them side by side."""
Kind = Literal[
    "describe", "gate", "controls", "roofs", "proofs", "memory", "time", "first_call", "compile", "tune", "try"
]


ALONE = ("describe", "controls", "roofs", "proofs")
"""Cells that are about no strategy in particular."""


@dataclass(frozen=True)
class Scope:
    """How much the gate checks.

    Attributes:
        level: ``quick``, ``standard`` or ``full``.
        checks: only these, or all; likewise ``dtypes`` and ``dims`` (``""`` for all).
    """

    level: str = "standard"
    checks: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    dims: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out: only then can the gate vouch for a strategy."""
        return not (self.checks or self.dtypes or self.dims)


def scope_of(data: dict[str, Any]) -> Scope:
    """A scope as it was before it travelled as JSON."""
    kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Scope(**kept)


@dataclass(frozen=True)
class Cell:
    """A unit of work that is done or not done.

    Attributes:
        launch: number of the launch; in a ``try`` cell which part of the candidates.
        strategies: those concerned; as ``layer/strategy`` in a ``describe`` cell, where they are not to be imported.
        group: what is measured; in a ``gate`` cell a group without dims; in a ``compile`` cell its device is the
            target.
        sizes: in a ``gate`` cell, the groups whose sizes are checked beside the layer's own check sizes; in a
            ``roofs`` cell, the groups that run on the device.
        passed: the pass that is timed; in a ``try`` or ``tune`` cell the kernel, whose candidates are run or timed.
        baseline: the strategy that is also timed against itself.
        interpret: whether Triton kernels run in its interpreter.
        scope: what is checked in the cells of the gate.
        waive: in a ``gate`` cell, checks that do not keep the strategy from being timed.
    """

    kind: Kind
    strategies: tuple[str, ...]
    group: Group
    passed: str = ""
    launch: int = 0
    sizes: tuple[Group, ...] = ()
    baseline: str = ""
    interpret: bool = False
    scope: Scope = Scope()
    waive: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a run, readable, and free of the strategies in cells that hold several."""
        match self.kind:
            case "describe":
                return "describe"
            case "gate":
                return f"gate {self.group.layer}/{self.strategies[0]} {self.group.device}"
            case "controls":
                return f"controls {self.group.device}"
            case "compile":
                return f"compile {self.group.layer}/{self.strategies[0]} {self.group.device}"
            case "tune":
                return f"tune {self.group} {self.strategies[0]} {self.passed}"
            case "try":
                return f"try {self.group} {self.strategies[0]} {self.passed} part {self.launch}"
            case "proofs":
                return f"proofs {self.strategies[0]}" + (f" {self.launch}" if self.launch else "")
            case "roofs":
                return f"roofs {self.group.device} {self.group.threads}"
            case "memory":
                return f"memory {self.group}"
            case "first_call":
                return f"cold first call {self.group} {self.strategies[0]}"
            case "time":
                return f"time {self.group} {self.passed} launch {self.launch}"


@dataclass(frozen=True)
class Job:
    """A worker process.

    Attributes:
        sources: where layers and strategies are found.
        threads: of the process; CPU workers that time are pinned to as many cores.
        seed: of the values, and with the launch of the order of rounds.
        seconds: for the samples of one pass of one group.
        allocator: ``fixed`` pins glibc's thresholds in CPU workers, ``system`` leaves them.
    """

    cells: tuple[Cell, ...]
    sources: tuple[str, ...]
    device: str
    threads: int
    seed: int
    seconds: float
    allocator: str = "fixed"

    @property
    def cold(self) -> bool:
        """Whether it must find its compile caches empty."""
        return any(cell.kind == "first_call" for cell in self.cells)

    def by_group(self) -> list[Job]:
        """The same cells as one job for each group, so that each can run on another machine."""
        found: dict[Group, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.group, []).append(cell)
        return [dataclasses.replace(self, cells=tuple(cells)) for cells in found.values()]

    def without(self, done: frozenset[str], blamed: tuple[Group, str] | None = None) -> Job:
        """What is left when some cells are done and a strategy of a group (all of it if "") is to be left out."""
        cells = []
        for cell in self.cells:
            if cell.name in done:
                continue
            if blamed and cell.kind == "describe":
                cell = dataclasses.replace(cell, strategies=(*cell.strategies, blamed[1]))
            elif blamed and cell.group == blamed[0] and cell.kind not in ALONE:
                rest = tuple(s for s in cell.strategies if blamed[1] not in (s, ""))
                cell = dataclasses.replace(cell, strategies=rest)
            if cell.strategies or cell.kind in ALONE:
                cells.append(cell)
        return dataclasses.replace(self, cells=tuple(cells))

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        """The inverse of to_json."""
        data: dict[str, Any] = json.loads(text)
        cells = tuple(
            Cell(
                **{
                    **c,
                    "strategies": tuple(c["strategies"]),
                    "group": Group(**c["group"]),
                    "sizes": tuple(Group(**g) for g in c["sizes"]),
                    "scope": scope_of(c["scope"]),
                    "waive": tuple(c["waive"]),
                }
            )
            for c in data["cells"]
        )
        return Job(**{**data, "cells": cells, "sources": tuple(data["sources"])})
