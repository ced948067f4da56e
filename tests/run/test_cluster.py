"""Nodes of a cluster as a place for workers: nothing is lost, nothing twice, and a lost node is nobody's fault."""

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from harness.records.schema import SCHEMA, Group
from harness.records.store import Journal, Run, read
from harness.run.bench import Settings
from harness.run.cluster import Cluster, RefusedError, connected
from harness.run.conductor import Conductor, WorkerError
from harness.run.jobs import Cell, Job
from harness.run.kinds import execute_on
from harness.run.progress import Reporter
from harness.run.ray_pool import RayPool
from harness.run.wanted import UsageError, Wanted
from tests.run.ray_nodes import Nodes, nodes

STUB = "tests.run.stub"
HEADER = {"kind": "run", "schema": SCHEMA}


@pytest.fixture(scope="module")
def there() -> Iterator[Nodes]:
    with nodes(2) as found:
        yield found


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cluster(there: Nodes, said: list[str]) -> Iterator[Cluster]:
    with connected("ray") as ray:
        found = Cluster(ray, (), 60.0, gpus=False, say=said.append, program=STUB)
        yield found
        found.close()


def _job(groups: int, launch: int = 1, seconds: float = 0.0, strategies: tuple[str, ...] = ("plain",)) -> Job:
    cells = [
        Cell("time", strategies, Group("stub", f"N={n}", "float32", "cpu", 1), passed, launch)
        for n in range(groups)
        for passed in ("forward", "step")
    ]
    return Job(tuple(cells), (), "cpu", 1, 0, seconds)


def _run(folder: Path, cluster: Cluster, *jobs: Job) -> Run:
    """The jobs one after the other, on all nodes that there are."""
    journal = Journal(folder)
    journal.write([HEADER])
    try:
        pool = RayPool(cluster.ray, cluster.survey(), cluster)
        conductor = Conductor(journal, Reporter(), pool, 60.0)
        for job in jobs:
            conductor.run([job])
    finally:
        journal.close()
    return read(folder)


def _each_once(run: Run, *jobs: Job) -> None:
    assert Counter(r["cell"] for r in run.of("cell")) == Counter(c.name for job in jobs for c in job.cells)
    assert Counter(r["cell"] for r in run.of("work")) == Counter(c.name for job in jobs for c in job.cells)


def test_groups_spread_and_keep_to_their_node(tmp_path: Path, cluster: Cluster) -> None:
    jobs = [_job(6, launch, seconds=0.5) for launch in (1, 2, 3)]
    run = _run(tmp_path, cluster, *jobs)
    _each_once(run, *jobs)
    assert {r["node"] for r in run.of("environment")} == {"node 1", "node 2"} == {r["node"] for r in run.of("cell")}
    homes: dict[str, set[str]] = {}
    for record in run.of("cell"):
        homes.setdefault(record["cell"].split(" forward ")[0].split(" step ")[0], set()).add(record["node"])
    assert len(homes) == 6
    assert all(len(home) == 1 for home in homes.values())


def test_a_strategy_that_ends_its_process_is_blamed_for_it(tmp_path: Path, cluster: Cluster) -> None:
    job = _job(2, strategies=("plain", "aborts"))
    run = _run(tmp_path, cluster, job)
    _each_once(run, job)
    assert {(s["strategy"], s["status"], s["dims"]) for s in run.of("status")} == {
        ("aborts", "crashed", "N=0"),
        ("aborts", "crashed", "N=1"),
    }
    assert all("SIGABRT" in s["reason"] for s in run.of("status"))


def test_what_is_lost_again_and_again_is_given_up_and_blames_no_strategy(tmp_path: Path, cluster: Cluster) -> None:
    (job,) = _job(1, strategies=("plain", "fells")).by_group()
    run = _run(tmp_path, cluster, job, _job(3, launch=2))
    (status,) = run.of("status")
    assert (status["strategy"], status["status"]) == ("", "skipped")
    assert "given up after 3 machines were lost in it, the last: node" in status["reason"]
    assert Counter(c["cell"] for c in run.of("cell")) == Counter(c.name for j in (job, _job(3, 2)) for c in j.cells)


@pytest.mark.parametrize("what", ["node", "task"])
def test_what_a_lost_node_was_doing_is_done_elsewhere(
    tmp_path: Path, there: Nodes, cluster: Cluster, what: str
) -> None:
    job = _job(8, seconds=3.0)

    def fell() -> None:
        while len(cluster.nodes) < 2:
            time.sleep(0.05)
        seat = cluster.nodes[0].seat
        time.sleep(1.5)
        if what == "node":
            there.fell(there.alive[0])
            there.add()
        else:
            os.kill(cluster.ray.get(seat.__ray_call__.remote(lambda self: os.getpid())), signal.SIGKILL)

    thread = threading.Thread(target=fell)
    thread.start()
    run = _run(tmp_path, cluster, job)
    thread.join()
    _each_once(run, job)
    assert not run.of("status")


def test_a_node_that_cannot_be_written_to_is_named_and_others_do_its_work(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(seat: Any) -> None:
        seat._scratch = Path("/dev/full/worker")

    pool = RayPool(cluster.ray, cluster.survey(), cluster)
    cluster.ray.get(cluster.nodes[0].seat.__ray_call__.remote(fill))
    job, journal = _job(4), Journal(tmp_path)
    journal.write([HEADER])
    Conductor(journal, Reporter(), pool, 60.0).run([job])
    journal.close()
    _each_once(read(tmp_path), job)
    assert re.search(r"node \d cannot write: Not a directory; time stub .* is run again", capsys.readouterr().err)


def test_nodes_give_nothing_precedence_over_what_is_timed_or_say_so(cluster: Cluster, said: list[str]) -> None:
    for node in cluster.survey():
        niceness = node.environment["niceness"]  # only who may can take back what Ray has given
        assert niceness == 0 or (niceness > 0 and os.geteuid() != 0)
        assert any(line.startswith(f"{node.name} times at niceness") for line in said) == (niceness > 0)
        node.environment["niceness"] = 15
        cluster._warn_of_niceness(node)
        assert said[-1].startswith(f"{node.name} times at niceness 15, behind whatever else runs there")


def test_a_node_with_other_versions_is_refused_in_one_line(cluster: Cluster, said: list[str]) -> None:
    cluster._due["torch"] = "1.0"
    with pytest.raises(UsageError, match="none of the 2 nodes of the cluster can take part"):
        cluster.survey()
    here = cluster._due | {"torch": "2.13.0"}
    assert len(said) == 2
    assert all("is left out: it has torch 2" in line and line.endswith("and torch 1.0 is due") for line in said)
    cluster._due["torch"] = "2.13.0+cpu"
    cluster._refuse_another(here | {"torch": "2.13.0+cu130"})
    for change, message in (({"torch": ""}, "no torch"), ({"source": "x"}, "its source .* is another one")):
        with pytest.raises(RefusedError, match=message):
            cluster._refuse_another(here | change)


def _bench(folder: Path, kind: str, said: list[str], resume: bool = False) -> list[Path]:
    settings = Settings((), folder, resume, timeout=60.0)
    wanted = Wanted() if resume else Wanted(profile="quick", launches=2)
    found = execute_on("ray", kind, wanted, settings, lambda *_: folder, said.append, STUB)
    return sorted(outcome.folder for outcome in found)


def test_each_kind_of_machine_has_a_run_of_its_own(tmp_path: Path, there: Nodes, said: list[str]) -> None:
    other = there.add("B CPU")
    out = tmp_path / "out"
    assert [f.name for f in _bench(out, "", said)] == ["a-cpu-1-cores", "b-cpu-1-cores"]
    for folder, cpu in (("a-cpu-1-cores", "A CPU"), ("b-cpu-1-cores", "B CPU")):
        run = read(out / folder)
        assert {r["cpu"] for r in run.of("environment")} == {cpu}
        assert run.of("run")[0]["machine"] is None
        names = Counter(c["cell"] for c in run.of("cell"))
        assert max(names.values()) == 1
        assert sum(name.startswith("time ") for name in names) == 3 * 2 * 2
    before = {folder.name: (folder / "records.jsonl").read_bytes() for folder in out.iterdir()}
    _bench(out, "b-cpu", said, resume=True)
    _bench(out / "a-cpu-1-cores", "", said, resume=True)
    cells = {name: text.count(b'"kind": "cell"') for name, text in before.items()}
    after = {folder.name: (folder / "records.jsonl").read_bytes().count(b'"kind": "cell"') for folder in out.iterdir()}
    assert after == cells
    with pytest.raises(UsageError, match=r"--device-kind h100: no node of that kind; the cluster has a-cpu"):
        _bench(tmp_path / "none", "h100", said)
    there.fell(other)


def test_a_lost_head_ends_the_run_with_a_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_head", "127.0.0.1:1")
    assert cluster.joined() == []  # it may be starting again
    monkeypatch.setattr("harness.run.cluster.HEAD_SECONDS", 0.0)
    with pytest.raises(WorkerError, match="the head of the cluster is gone; finished cells are kept"):
        cluster.joined()


def test_no_such_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match="--on ray: no cluster that can be used"):
        _bench(tmp_path / "out", "", said)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: list[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'layerbench\[cluster\]'"):
        _bench(tmp_path / "out", "", said)
