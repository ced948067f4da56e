"""What the gate says of kernels: tuned ones, those that only a GPU runs, and those that stray."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.layers.discover import load, scan
from harness.records.schema import CaseStatus, Check, Group, StrategyFacts
from harness.run.compiling import compile_kernels
from harness.run.deaths import crash, proof
from harness.run.describe import describe
from harness.run.gate import gate
from harness.run.jobs import NOTE_BYTES, Cell, Job, Scope
from harness.run.process import Process
from harness.run.remote import SubjectDiedError

pytest.importorskip("triton")
SCALED = Path(__file__).parent / "kernels" / "scaled.py"


def _process(folder: Path) -> Process:
    note = folder / "note"
    note.write_bytes(bytes(NOTE_BYTES))
    return Process(Job((), (str(SCALED),), "cpu", 1, 0, 0.0), io.StringIO(), note)


def _judged(folder: Path, strategy: str, checks: Sequence[str], interpret: bool = True) -> list[Any]:
    cell = Cell(
        "gate", (strategy,), Group("scaled", "", "", "cpu", 1), interpret=interpret, scope=Scope(checks=tuple(checks))
    )
    return list(gate(_process(folder), cell))


def _status(found: Sequence[Any]) -> tuple[str, str]:
    (status,) = (r for r in found if isinstance(r, CaseStatus))
    return status.status, status.reason


def test_what_cannot_be_described_is_told_as_its_error(tmp_path: Path) -> None:
    facts = {
        f.strategy: f for f in describe(_process(tmp_path), Cell("describe", (), None)) if isinstance(f, StrategyFacts)
    }  # type: ignore[arg-type]
    assert facts["nameless"].error == (
        "scaled.py: cannot be described: AttributeError: 'Nameless' object has no attribute '__name__'"
    )
    assert facts["tuned"].kernels == facts["function_alone"].kernels == ("tuned_kernel",)
    assert facts["tuned"].error is None


@pytest.mark.parametrize("strategy", ["tuned", "function_alone"])
def test_a_tuned_kernel_that_restores_what_it_changes_is_right(tmp_path: Path, strategy: str) -> None:
    found = _judged(tmp_path, strategy, ("values", "launches"))
    assert {r.result for r in found} == {"ok"}
    settings = {r.setting for r in found}
    assert settings == {"", "first call of a tuned kernel", "configuration 2 of 3", "configuration 3 of 3"}


def test_a_configuration_that_is_wrong_is_named_and_one_that_does_not_compile_is_left_out(tmp_path: Path) -> None:
    status, reason = _status(found := _judged(tmp_path, "one_is_wrong", ("values",)))
    assert status == "wrong"
    assert "configuration 2 of 3" in reason
    assert {r.setting for r in found if isinstance(r, Check) and r.result == "wrong"} == {"configuration 2 of 3"}


def test_what_the_interpreter_cannot_do_is_not_run_and_not_wrong(tmp_path: Path) -> None:
    found = _judged(tmp_path, "asm", ("values", "untouched", "empty"))
    assert _status(found) == (
        "unsupported",
        "not run here: Triton's interpreter cannot do what a kernel asks for: inline_asm not supported in interpreter"
        " mode",
    )
    checks = [r for r in found if isinstance(r, Check)]
    assert {(r.check, r.result) for r in checks} >= {("values", "not_run"), ("untouched", "not_run"), ("empty", "ok")}
    assert not [r for r in checks if r.result == "wrong"]


def test_an_offset_that_wraps_in_the_interpreter_is_wrong_in_words(tmp_path: Path) -> None:
    status, reason = _status(_judged(tmp_path, "rows", ("values", "far_apart")))
    assert status == "wrong"
    assert "far_apart" in reason
    assert "an offset between far rows wraps in 32 bits" in reason


def test_a_process_that_ends_where_rows_are_far_apart_is_wrong_and_earlier_checks_stay(tmp_path: Path) -> None:
    found = _judged(tmp_path, "touched", ("values", "far_apart"), interpret=False)
    status, reason = _status(found)
    assert status == "wrong"
    assert "killed by signal 11 (SIGSEGV) where rows of the inputs lie far apart" in reason
    assert "wraps in 32 bits" in reason
    assert [r.check for r in found if isinstance(r, Check)].count("values") == 9


def test_an_end_that_proves_nothing_is_a_crash_and_says_what_was_asked() -> None:
    killed = SubjectDiedError("killed by signal 9 (SIGKILL)", -9)
    assert not proof(killed, "far_apart")
    assert not proof(SubjectDiedError("killed by signal 11 (SIGSEGV)", -11), "steady_memory")
    assert crash(killed, "steady_memory", "steady_memory") == (
        "killed by signal 9 (SIGKILL) in: steady_memory (asked for: many steps in a row: does it free what it uses?)"
    )
    assert crash(killed, "", "import") == "killed by signal 9 (SIGKILL) in: import"


def test_races_are_said_not_to_be_looked_for(tmp_path: Path) -> None:
    (race,) = _judged(tmp_path, "rows", ("races",))
    assert (race.check, race.result) == ("races", "not_run")
    assert not _judged(tmp_path, "touched", ("races",), interpret=False)


def test_each_configuration_of_a_tuned_kernel_is_compiled_ahead(tmp_path: Path) -> None:
    cell = Cell("compile", ("tuned",), Group("scaled", "", "", "sm_90", 1))
    found = [r for r in compile_kernels(_process(tmp_path), cell) if r.result != "missing"]
    assert [(r.signature, r.options["num_warps"], r.result) for r in found] == [
        (f"fp32 BLOCK={size}", 2, "ok") for size in (16, 32, 64)
    ]


def test_tuners_are_found_around_a_kernel_that_is_stated_alone() -> None:
    entries = {e.strategy: e for e in scan([str(SCALED)])}
    one, other = (load(entries[name]).value.kernels[0] for name in ("tuned", "function_alone"))
    assert one.jitted is other.jitted
    assert one.tuners == other.tuners
    assert [c.kwargs["BLOCK"] for c in other.configurations] == [16, 32, 64]


RACY = """
from itertools import count
from harness import Layer, Operand, Strategy
from harness.verify.asking import Local, claims_of
from harness.verify.judging import Subject, Yardstick
from harness.verify.search import search

layer = Layer(inputs={"x": Operand(("N", "D"))}, parameters={"w": Operand(("D",))}, output=("N", "D"),
              check=({"N": 7, "D": 5},))
calls = count()
racy = Strategy(lambda x, w: x * w + (next(calls) == 40), dtypes=("float32",))
subject = Subject("scaled", layer, "racy", claims_of(racy), Local(layer, racy), Yardstick(Strategy(lambda x, w: x * w)), "cpu")
(record, *_) = search(subject, 0)
print(record.result, record.detail)
"""


def test_a_race_that_the_search_meets_is_wrong_in_words() -> None:
    pytest.importorskip("hypothesis")
    ran = subprocess.run([sys.executable, "-c", RACY], capture_output=True, text=True, env={**os.environ})
    assert ran.stdout.startswith("wrong asked for the same again it answered otherwise"), ran.stderr
