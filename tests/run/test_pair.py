"""Launches alone: both arms are timed, nothing else is asked, and after trouble there is no other launch."""

from pathlib import Path

import pytest

from harness.records.store import Run
from harness.run import pair
from harness.run.places import sources
from harness.run.wanted import UsageError, Wanted
from tests.conftest import PACKAGES

HOSTILE = (str(PACKAGES / "hostile"),)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    wanted = Wanted(
        "quick", ("scale",), ("module", "raises", "half_only"), ("cpu",), ("float32",), (1,), "autograd", 3,
        dims=("N=64,D=32",), passes=("forward_backward",),
    )  # fmt: skip
    return pair.launch(wanted, sources(HOSTILE), tmp_path_factory.mktemp("pair"), 60.0)


def test_both_are_timed_in_turns_and_the_baseline_twice(run: Run) -> None:
    timed = {(r["strategy"], r["again"]): r for r in run.of("samples")}
    assert timed.keys() == {("autograd", False), ("autograd", True), ("module", False)}
    assert len({len(r["seconds"]) for r in timed.values()}) == 1
    assert {r["pass"] for r in timed.values()} == {"forward_backward"}


def test_there_is_no_launch_after_one_with_trouble(run: Run) -> None:
    assert {r["launch"] for r in run.of("samples")} == {1}
    (status,) = [r for r in run.of("status") if r["stage"] == "time"]
    assert (status["strategy"], status["status"]) == ("raises", "runtime_error")


def test_what_cannot_be_timed_is_not_tried(run: Run) -> None:
    (status,) = [r for r in run.of("status") if r["strategy"] == "half_only"]
    assert (status["stage"], status["status"], status["reason"]) == ("plan", "unsupported", "does not claim float32")


def test_no_gate_no_memory_no_proofs(run: Run) -> None:
    assert not any(run.of(kind) for kind in ("check", "training", "control", "memory", "proof", "roof"))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown baseline 'nope'"):
        pair.launch(Wanted(layers=("scale",), baseline="nope"), sources(HOSTILE), tmp_path, 60.0)
    (tmp_path / "something").touch()
    with pytest.raises(UsageError, match="is not empty"):
        pair.launch(Wanted(), sources(HOSTILE), tmp_path, 60.0)
