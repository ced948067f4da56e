"""The ``controls`` cell: the gate must catch every planted fault with the very checks that it is about to use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence, Set
from typing import Any

from harness.records.gate import ControlResult
from harness.records.schema import Check, Training
from harness.run.gate import PARALLEL, answered, describe_failure, failed, in_two_processes, unjudged
from harness.run.jobs import Cell
from harness.run.process import Process
from harness.run.remote import Remote, SubjectDiedError, SubjectProcess
from harness.verify.asking import StrategyError
from harness.verify.controls.control import Control
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.suite import stages

MODULES = ("harness.verify.controls.dense", "harness.verify.controls.sequence", "harness.verify.controls.kernels")
SOUND = "sound"
SEED = 0
"""Of the controls, whatever the run's: that the gate sees is asked of the same values each time."""


def check_controls(process: Process, cell: Cell) -> Iterator[Any]:
    """Every control of the level, and sound strategies that the same checks must let pass."""
    with _Seats(process, cell.group.device) as seats:
        for module in MODULES:
            if module.endswith("kernels") and importlib.util.find_spec("triton") is None:
                yield ControlResult("kernels", 22, cell.group.device, "guarded", "not_run", "triton is not installed")
                continue
            yield from _check_module(process, cell, _Desk(module, seats))


def _check_module(process: Process, cell: Cell, desk: _Desk) -> Iterator[ControlResult]:
    """The controls of a module; its sound strategy first."""
    device, level = cell.group.device, cell.scope.level
    sound = list(stages(desk.subject(SOUND), SEED, level))  # type: ignore[arg-type]
    in_force = {(s.check, dtype) for s in sound for dtype in ("", s.dtype)}
    if level == "full":
        in_force.add((PARALLEL.check, ""))
    controls = {n: c for n, c in desk.controls.items() if (c.check, c.dtype) in in_force}
    checks = dict.fromkeys(c.check for c in controls.values())
    for check in sorted(checks, key=lambda check: check != "global_state"):  # while processes are clean
        mine = {n: c for n, c in controls.items() if c.check == check}
        process.about_to(str(cell.group), "", f"sound strategy: {check}")
        found = desk.refused(SOUND, check, level, {c.dtype for c in mine.values()}, ("wrong", "wasteful"))
        if found:
            yield ControlResult(SOUND, 0, device, check, "missed", f"a sound strategy was refused: {found}")
        for name, control in mine.items():
            process.about_to(str(cell.group), "", f"control: {control.what}")
            if control.cuda and device != "cuda":
                yield ControlResult(name, control.fault, device, check, "not_run", "shows on a GPU only")
                continue
            if control.interpreted and device == "cuda":
                detail = "shows in Triton's interpreter only"
                yield ControlResult(name, control.fault, device, check, "not_run", detail)
                continue
            found = desk.refused(name, check, level, {control.dtype}, (control.result,))
            yield ControlResult(name, control.fault, device, check, "caught" if found else "missed", found)


class _Seats:
    """Subject processes for controls, started when wanted, and anew when a control has ended one."""

    def __init__(self, process: Process, device: str) -> None:
        self.device = device
        self._sources = process.job.sources
        self._taken: list[SubjectProcess] = []

    def __enter__(self) -> _Seats:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """End them all."""
        for each in self._taken:
            each.__exit__()
        self._taken.clear()

    def take(self, count: int) -> list[SubjectProcess]:
        """So many processes."""
        while len(self._taken) < count:
            self._taken.append(SubjectProcess(self._sources, self.device, interpret=self.device == "cpu"))
        return self._taken[:count]


class _Desk:
    """The strategies of a module of controls, under test."""

    def __init__(self, module: str, seats: _Seats) -> None:
        loaded = importlib.import_module(module)
        self.controls: dict[str, Control] = loaded.CONTROLS
        self._layer, self._yardstick = loaded.layer, Yardstick(loaded.reference)
        self._module, self._seats = module, seats

    def _remotes(self, name: str, count: int) -> list[Remote]:
        return [Remote(each, "", name, self._module) for each in self._seats.take(count)]

    def subject(self, name: str) -> Subject:
        """A strategy of the module."""
        (remote,) = self._remotes(name, 1)
        return Subject("control", self._layer, name, remote.claims(), remote, self._yardstick, self._seats.device)

    def refused(self, name: str, check: str, level: str, dtypes: Set[str], words: Sequence[str]) -> str:
        """A line on how a check refused a strategy in some dtypes ("": in any); empty where it let it pass.

        Args:
            words: results that count. An error counts as ``wrong``.
        """
        if check == "global_state":
            self._seats.clear()  # what others have changed must not speak for this one
        try:
            subject = self.subject(name)
            if check == PARALLEL.check:
                results = in_two_processes(subject, self._remotes(name, 2), SEED)
                return next((describe_failure(r) for r in results if _counts(r, words)), "")
            for stage in stages(subject, SEED, level):  # type: ignore[arg-type]
                if stage.check == check and ("" in dtypes or stage.dtype in dtypes):
                    for result in answered(subject, stage):
                        if _counts(result, words) or (name == SOUND and unjudged(result)):
                            return describe_failure(result)
        except StrategyError as error:
            return f"{error.status}: {error}" if "wrong" in words else ""
        except SubjectDiedError as error:
            self._seats.clear()
            return str(error) if "wrong" in words else ""
        return ""


def _counts(result: Check | Training, words: Sequence[str]) -> bool:
    return result.result in words and (failed(result) or result.result != "wrong")
