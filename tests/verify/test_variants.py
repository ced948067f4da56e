"""Every control has a variant on another layer, and the check that must catch the one catches the other."""

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run.gate import PARALLEL, describe_failure, failed, in_two_processes
from harness.run.remote import Remote, SubjectDiedError, SubjectProcess
from harness.verify.asking import StrategyError
from harness.verify.controls.control import Control
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.suite import stages

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("dense", "sequence", "kernels")
GPU_ONLY = {28}
"""Faults that no CPU shows."""

MISSED = {
    "biased": "all of a tensor may be 6 % too large in bfloat16, and training forgives what a fixed point forgives",
    "input_biased": "all of a tensor may be 6 % too large in bfloat16",
    "thrown_away": "work is seen only where it is returned",
    "arrays": "tensors are counted and nothing else",
    "pool": "only in float32, where a module's .to() copies nothing, and two instances are asked in float64",
    "flushes": "with denormals flushed the comparison of the two sums flushes too",
}
"""Variants that the gate lets pass, and why. A test says so, and fails when the gate has learned to catch one."""


def _controls(module: str) -> dict[str, Control]:
    found: dict[str, Control] = importlib.import_module(f"harness.verify.controls.{module}").CONTROLS
    return found


def _variants(module: str, which: str = "CONTROLS") -> dict[str, Control]:
    found: dict[str, Control] = getattr(importlib.import_module(f"tests.verify.variants.{module}"), which)
    return found


class Desk:
    """Asks strategies of a module, in a process that is started anew when one has ended it."""

    def __init__(self, module: str) -> None:
        self.module = module
        self._layer = importlib.import_module(self.module).layer
        self._yardstick = Yardstick(importlib.import_module(self.module).reference)
        self._open: list[SubjectProcess] = []

    def close(self) -> None:
        for each in self._open:
            each.__exit__()
        self._open.clear()

    def remotes(self, name: str, count: int = 1) -> list[Remote]:
        while len(self._open) < count:
            self._open.append(SubjectProcess(("implementations",), "cpu", interpret=True))
        return [Remote(each, "", name, self.module) for each in self._open[:count]]

    def subject(self, name: str) -> Subject:
        (remote,) = self.remotes(name)
        claims = remote.claims()
        interpreted = "triton" in claims.needs
        return Subject("variant", self._layer, name, claims, remote, self._yardstick, "cpu", interpreted)

    def caught(self, name: str, control: Control) -> str:
        """How the check of its control refused a strategy, in a line; empty where it let it pass."""
        check = control.check
        if check == "global_state":
            self.close()  # others' traces must not speak for this one
        try:
            subject = self.subject(name)
            if check == PARALLEL.check:
                results = in_two_processes(subject, self.remotes(name, 2), 0)
                return next((describe_failure(r) for r in results if failed(r)), "")
            for stage in stages(subject, 0, "standard"):
                found = stage.run() if stage.check == check else ()
                bad = [r for r in found if r.result == control.result and (failed(r) or control.result != "wrong")]
                if bad:
                    return describe_failure(bad[0])
        except StrategyError as error:
            return f"{error.status}: {error}" if control.result == "wrong" else ""
        except SubjectDiedError as error:
            self.close()
            return str(error) if control.result == "wrong" else ""
        return ""


@pytest.fixture(scope="module")
def desks() -> Iterator[dict[str, Desk]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # so that a subject process finds the variants
        found = {module: Desk(f"tests.verify.variants.{module}") for module in MODULES}
        yield found
        for desk in found.values():
            desk.close()


def test_every_fault_has_a_control() -> None:
    faults = {c.fault for module in MODULES for c in _controls(module).values()}
    assert faults >= {*range(1, 53), 54, 58, 59}


@pytest.mark.parametrize("module", MODULES)
def test_every_control_has_a_variant_for_the_same_check(module: str) -> None:
    controls, variants = _controls(module), _variants(module)
    for name, control in controls.items():
        assert dataclasses.replace(variants[name], what="", strategy=control.strategy) == dataclasses.replace(
            control, what=""
        )
    assert variants.keys() == controls.keys()
    assert all(variants[n].strategy is not c.strategy for n, c in controls.items())


@pytest.mark.parametrize(
    ("module", "name"),
    [(m, n) for m in MODULES for n, c in _variants(m).items() if c.fault not in GPU_ONLY],
)
def test_a_variant_is_caught_by_the_check_of_its_control(desks: dict[str, Desk], module: str, name: str) -> None:
    assert bool(desks[module].caught(name, _variants(module)[name])) == (name not in MISSED)


@pytest.mark.parametrize(
    ("module", "name"),
    [(m, n) for m in MODULES for n in _variants(m, "MORE")],
)
def test_another_form_of_a_fault_is_caught(desks: dict[str, Desk], module: str, name: str) -> None:
    assert bool(desks[module].caught(name, _variants(module, "MORE")[name])) == (name not in MISSED)


def test_a_control_that_takes_two_processes_is_caught(desks: dict[str, Desk]) -> None:
    dear = {name: c for name, c in _controls("dense").items() if c.dear}
    desk = Desk("harness.verify.controls.dense")
    try:
        assert dear
        assert all(desk.caught(name, c).startswith("data_parallel: mean gradient") for name, c in dear.items())
    finally:
        desk.close()


@pytest.mark.parametrize("module", MODULES)
def test_the_sound_strategy_passes_every_stage(desks: dict[str, Desk], module: str) -> None:
    desks[module].close()  # what others have patched is not its doing
    subject = desks[module].subject("sound")
    wrong = [describe_failure(r) for stage in stages(subject, 0, "standard") for r in stage.run() if failed(r)]
    assert not wrong


def test_a_sound_strategy_trains_in_two_processes(desks: dict[str, Desk]) -> None:
    results = in_two_processes(desks["dense"].subject("sound"), desks["dense"].remotes("sound", 2), 0)
    assert {r.result for r in results} == {"ok"}
