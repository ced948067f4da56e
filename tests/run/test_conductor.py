"""Cells that are about no strategy: what ends their process costs them alone, and never runs again for ever."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.records.schema import Group
from harness.records.store import Journal, Record
from harness.run.conductor import Conductor, WorkerError
from harness.run.jobs import Cell, Job, Scope
from harness.run.pool import LocalPool
from harness.run.progress import Reporter

NOWHERE = Group("", "", "", "cpu", 1)


def _run(folder: Path, *cells: Cell) -> tuple[set[str], list[Record]]:
    heard: list[Record] = []
    journal = Journal(folder)
    try:
        conductor = Conductor(journal, Reporter(), LocalPool(folder / "scratch"), 60.0, heard=heard.append)
        conductor.run([Job(cells, (), "cpu", 1, 0, 0.0)])
    finally:
        journal.close()
    return conductor.done, heard


def test_roofs_that_end_the_process_are_lost_and_the_rest_goes_on(tmp_path: Path) -> None:
    roofs = Cell("roofs", (), NOWHERE, sizes=(Group("no_such_layer", "N=1", "float32", "cpu", 1),))
    proofs = Cell("proofs", ("known duration",), NOWHERE, scope=Scope("quick"))
    done, heard = _run(tmp_path, roofs, proofs)
    assert done == {roofs.name, proofs.name}
    (status,) = [r for r in heard if r["kind"] == "status"]
    assert (status["stage"], status["status"]) == ("roofs", "crashed")
    assert "no_such_layer" in status["reason"]
    assert {r["result"] for r in heard if r["kind"] == "proof"} <= {"held", "failed"}
    assert any(r["kind"] == "proof" for r in heard)
    (closed,) = (r for r in heard if r["kind"] == "cell" and r["cell"] == proofs.name)
    assert closed["waited"] > 0  # its process had to be started


def test_without_its_controls_the_gate_does_not_go_on(tmp_path: Path) -> None:
    job = Job((Cell("controls", (), NOWHERE, scope=Scope("quick")),), (), "cpu", 1, 0, 0.0)
    child: Any = SimpleNamespace(
        note=("", "", "control: a flipped sign"), finished=False, job=job, done=set(), error="", node="",
        end=lambda grace: -9,
    )  # fmt: skip
    journal = Journal(tmp_path)
    conductor = Conductor(journal, Reporter(), LocalPool(tmp_path / "scratch"), 60.0)
    with pytest.raises(WorkerError, match="the controls of the gate cannot run here: killed by signal 9"):
        conductor._ended(child, "ended")
    journal.close()


def test_a_worker_that_cannot_begin_is_told_in_its_own_words(tmp_path: Path) -> None:
    jobs = [Job((Cell("roofs", (), NOWHERE),), (), "cpu", 1, seed, 0.0) for seed in (0, 1)]
    journal = Journal(tmp_path)
    conductor = Conductor(journal, Reporter(), LocalPool(tmp_path / "scratch", "no_such_module"), 60.0)
    with pytest.raises(WorkerError, match=r"a worker ended before its first cell: .*no_such_module"):
        conductor.run(jobs)
    journal.close()
