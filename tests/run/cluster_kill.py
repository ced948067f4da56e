"""``python -m tests.run.cluster_kill --repeats 10``: groups of stub work over the nodes of a cluster that keep dying.

Every few seconds a node is ended as a power cut does, and another one joins. In the end every cell must be closed
exactly once, with its record, and no strategy blamed. Prints the counts.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from harness.records.schema import SCHEMA, Group
from harness.records.store import Journal, read
from harness.run.cluster import Cluster, connected
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job
from harness.run.progress import Reporter
from harness.run.ray_pool import RayPool
from tests.run.ray_nodes import Nodes, nodes

STUB = "tests.run.stub"
PASSES = ("forward", "step")


def job(groups: int, seconds: float) -> Job:
    """One launch of so many groups, each pass of which takes some seconds."""
    cells = [
        Cell("time", ("plain",), Group("stub", f"N={n}", "float32", "cpu", 1), passed, 1)
        for n in range(groups)
        for passed in PASSES
    ]
    return Job(tuple(cells), (), "cpu", 1, 0, 10 * seconds)


def kill(there: Nodes, every: float, stop: threading.Event, rng: random.Random, killed: list[int]) -> None:
    """Fell a node from time to time, and add another."""
    while not stop.wait(every):
        killed.append(rng.choice(there.alive))
        there.fell(killed[-1])
        there.add()


def once(folder: Path, groups: int, count: int, every: float, seconds: float, rng: random.Random) -> bool:
    """One run; whether all was done exactly once."""
    work, killed, stop, started = job(groups, seconds), [], threading.Event(), time.monotonic()
    with nodes(count) as there, connected("ray") as ray:
        cluster = Cluster(ray, (), 600.0, gpus=False, say=lambda text: print(text, file=sys.stderr), program=STUB)
        journal = Journal(folder)
        journal.write([{"kind": "run", "schema": SCHEMA}])
        try:
            pool = RayPool(ray, cluster.survey(), cluster)
            killer = threading.Thread(target=kill, args=(there, every, stop, rng, killed))
            killer.start()
            Conductor(journal, Reporter(Console(stderr=True, quiet=True)), pool, 600.0).run([work])
        finally:
            stop.set()
            killer.join()
            journal.close()
            cluster.close()
    run = read(folder)
    due = {cell.name for cell in work.cells}
    closed, kept = (Counter(r["cell"] for r in run.of(kind)) for kind in ("cell", "work"))
    whole = {cell.group for cell in work.cells} - {c.group for c in work.cells if kept[c.name] != 1}
    twice = sum(n > 1 for n in (closed | kept).values())
    print(
        f"{len(killed)} nodes killed: {len(whole)} of {groups} groups, {len(due & closed.keys())} of {len(due)} cells, "
        f"{twice} twice, {len(run.of('status'))} given up, {len({r['node'] for r in run.of('cell')})} nodes had a part, "
        f"{time.monotonic() - started:.0f} s",
        flush=True,
    )
    return closed == kept == Counter(due) and not run.of("status")


def main() -> int:
    """Exit code 1 where a cell was lost, done twice or given up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two kills")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each cell's work")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    well = 0
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            well += once(Path(scratch), given.groups, given.nodes, given.every, given.seconds, rng)
    print(f"{well} of {given.repeats} repeats: all cells done, each exactly once")
    return int(well < given.repeats)


if __name__ == "__main__":
    sys.exit(main())
