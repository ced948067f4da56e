"""The state of a worker process: its job, the files it has imported, the note and the way out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from harness.layers.discover import Entry, Loaded, load, scan
from harness.layers.spec import Layer, Strategy
from harness.records.schema import as_record
from harness.run.jobs import DEVICE_LOST, NOTE_BYTES, Cell, Job, note_bytes
from harness.run.remote import SubjectProcess
from harness.verify.reference import Yardstick
from harness.verify.soundness import refuse_unsound, unasked
from harness.verify.state import changes, is_used_by_harness, meter_state


class Process:
    """What the cells of a job share.

    Before a strategy is touched its name goes into a small shared file, so that the parent can name the one that kills
    or hangs the process; a note costs no system call, so it may be written between timed samples.
    """

    def __init__(self, job: Job, out: IO[str], note: Path) -> None:
        self.job = job
        self._out = out
        # mapped by torch, which keeps no descriptor open: a strategy that writes into every one must not reach the note
        self._note = memoryview(torch.from_file(str(note), shared=True, size=NOTE_BYTES, dtype=torch.uint8).numpy())  # type: ignore[arg-type]
        self.entries: dict[tuple[str, str | None], Entry] = {(e.layer, e.strategy): e for e in scan(job.sources)}
        self._loaded: dict[tuple[str, str | None], Loaded] = {}
        self._yardsticks: dict[str, Yardstick] = {}
        self._unasked: dict[tuple[str, str], str] = {}
        self._seconds: dict[bool, SubjectProcess] = {}
        self._at_start = meter_state()

    def about_to(self, group: str, strategy: str, what: str) -> None:
        """Write down what comes next."""
        self.write_note(note_bytes(group, strategy, what))

    def write_note(self, text: bytes) -> None:
        """The same, from bytes made before (``note_bytes``)."""
        self._note[:] = text

    def noted(self, text: bytes) -> bool:
        """Whether that is the note, as this process or a fork of it has written it last."""
        return self._note == text

    def touched(self) -> list[str]:
        """Names of what meter or judge rest on and is otherwise than when this process began."""
        return [name for name in changes(self._at_start, meter_state()) if is_used_by_harness(name)]

    def close(self, cell: Cell, records: Sequence[Any], seconds: float) -> None:
        """Report a finished cell."""
        lines = [r if isinstance(r, dict) else as_record(r) for r in records]
        print(json.dumps({"cell": cell.name, "seconds": seconds, "records": lines}), file=self._out, flush=True)

    def load(self, layer: str, strategy: str | None) -> Loaded:
        """Import a file once."""
        key = (layer, strategy)
        if key not in self._loaded:
            self._loaded[key] = load(self.entries[key])
        return self._loaded[key]

    def layer(self, name: str) -> Layer:
        """A layer that is known to load."""
        layer: Layer = self.load(name, None).value
        return layer

    def yardstick(self, name: str) -> Yardstick:
        """A layer's reference, and what it has answered in this process so far.

        Raises:
            UnsoundLayerError: it cannot be judged by.
        """
        if name not in self._yardsticks:
            layer = self.layer(name)
            reference = self.strategy(name, layer.reference)
            refuse_unsound(layer, reference, self.job.device)
            self._yardsticks[name] = Yardstick(reference)
        return self._yardsticks[name]

    def unasked(self, name: str, dtype: str) -> str:
        """Why nothing of a layer can be asked in a dtype; empty where it can."""
        if (name, dtype) not in self._unasked:
            layer = self.layer(name)
            why = unasked(layer, self.strategy(name, layer.reference), self.job.device, dtype)
            self._unasked[name, dtype] = why
        return self._unasked[name, dtype]

    @contextlib.contextmanager
    def second(self, interpret: bool) -> Iterator[SubjectProcess]:
        """A fresh process beside that of the strategy under test; kept for the next one if all went well."""
        second = self._seconds.pop(interpret, None) or SubjectProcess(
            self.job.sources, self.job.device, interpret, fresh=True
        )
        try:
            yield second
        except BaseException:
            second.__exit__()
            raise
        self._seconds[interpret] = second

    def strategy(self, layer: str, name: str) -> Strategy:
        """A strategy that is known to load."""
        strategy: Strategy = self.load(layer, name).value
        return strategy


def forget_compiled() -> None:
    """Drop what torch.compile has made, so that no graph of one case serves another."""
    if "torch._dynamo" in sys.modules:  # importing it to forget nothing would cost a second
        torch.compiler.reset()


def leave_if_the_device_is_lost(device: str) -> None:
    """After an error on CUDA: where the context is dead every later strategy would fail with it, so end the process.

    The parent finds the culprit's name in the note and goes on without it in a fresh process.
    """
    if device == "cuda":
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            os._exit(DEVICE_LOST)
