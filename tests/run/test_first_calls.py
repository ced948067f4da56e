"""Cold first calls are done one by one in copies of one process: each finds nothing that another has left."""

import shutil
from pathlib import Path

from harness.layers.discover import resolve
from harness.records.schema import Group
from harness.records.store import Journal, Record
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job
from harness.run.pool import LocalPool
from harness.run.progress import Reporter
from tests.conftest import PACKAGES

WRITTEN = """
import os
from pathlib import Path
import torch
from harness import Strategy
CACHES = [Path(os.environ[name]) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")]
def forward(x, weight):
    {before}
    return x * weight
strategy = Strategy(forward)
"""
FIRST, SECOND = (
    "assert not hasattr(torch, 'seen') and not any(list(c.iterdir()) for c in CACHES)",
    "torch.seen = [(c / 'kernel').touch() for c in CACHES]",
)
BEFORE = {
    "autograd": "pass",
    "one": f"{FIRST}; {SECOND}",
    "leaves": "os._exit(0)",
    "two": f"{FIRST}; {SECOND}",
    "aborts": "os.abort()",
    "raises": "raise ValueError('no')",
    "three": FIRST,
}
GROUP = Group("scale", "N=64,D=32", "float32", "cpu", 1)


def _run(tmp_path: Path) -> list[Record]:
    folder = tmp_path / "sources" / "scale"
    folder.mkdir(parents=True)
    shutil.copy(PACKAGES / "hostile" / "scale" / "__init__.py", folder)
    for name, before in BEFORE.items():
        (folder / f"{name}.py").write_text(WRITTEN.format(before=before))
    cells = tuple(Cell("first_call", (name,), GROUP) for name in BEFORE)
    heard: list[Record] = []
    journal = Journal(tmp_path / "run")
    try:
        pool = LocalPool(tmp_path / "scratch")
        conductor = Conductor(journal, Reporter(), pool, 60.0, heard=heard.append)
        conductor.run([Job(cells, (resolve(str(folder.parent)),), "cpu", 1, 0, 0.0)])
    finally:
        journal.close()
    assert conductor.done == {cell.name for cell in cells}
    return heard


def test_each_starts_anew_and_what_ends_one_costs_its_strategy_alone(tmp_path: Path) -> None:
    heard = _run(tmp_path)
    calls = {r["strategy"]: r for r in heard if r["kind"] == "first_call"}
    assert set(calls) == {"autograd", "one", "two", "three"}
    assert all(r["cold"] and r["launch"] == 0 and r["seconds"] > 0 for r in calls.values())
    failed = {r["strategy"]: (r["status"], r["reason"].split("; next: ")[0]) for r in heard if r["kind"] == "status"}
    assert failed == {
        "leaves": ("crashed", "ended with exit code 0 in: cold first call"),
        "aborts": ("crashed", "killed by signal 6 (SIGABRT) in: cold first call"),
        "raises": ("runtime_error", "ValueError: no"),
    }
