"""What a launch costs on a cluster beside the same on this machine: ``python -m tests.run.cluster_cost [LAUNCHES]``.

One node, a worker that does nothing, the two paths in turns. Shows seconds a launch, and CPU seconds of the driver.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console

from harness.records.schema import Group
from harness.records.store import Journal
from harness.run.cluster import Cluster, connected
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job
from harness.run.pool import LocalPool, Pool
from harness.run.progress import Reporter
from harness.run.ray_pool import RayPool
from tests.run.ray_nodes import nodes

STUB = "tests.run.stub"
AT_A_TIME = 10


def launches(pool: Pool, folder: Path) -> tuple[float, float]:
    """Seconds a launch, and CPU seconds of this process."""
    group = Group("stub", "N=1", "float32", "cpu", 1)
    journal = Journal(folder)
    conductor = Conductor(journal, Reporter(Console(stderr=True, quiet=True)), pool, 60.0)
    started, before = time.perf_counter(), os.times()
    for launch in range(AT_A_TIME):
        conductor.run([Job((Cell("time", ("plain",), group, "step", launch),), (), "cpu", 1, 0, 0.0)])
    wall, used = time.perf_counter() - started, os.times()
    journal.close()
    return wall / AT_A_TIME, (used.user + used.system - before.user - before.system) / AT_A_TIME


def main(count: int) -> None:
    """Both paths in turns."""
    found: dict[str, list[tuple[float, float]]] = {"local": [], "cluster": []}
    with nodes(1), connected("ray") as ray, tempfile.TemporaryDirectory() as scratch:
        cluster = Cluster(ray, (), 60.0, gpus=False, say=lambda text: None, program=STUB)
        pools: dict[str, Pool] = {
            "local": LocalPool(Path(scratch), STUB),
            "cluster": RayPool(ray, cluster.survey(), cluster),
        }
        for turn in range(max(1, count // AT_A_TIME)):
            for name, pool in pools.items():
                found[name].append(launches(pool, Path(scratch) / f"{name}{turn}"))
        cluster.close()
    for name, times in found.items():
        wall, cpu = (median(t[i] for t in times) for i in (0, 1))
        print(
            f"{name:>7}: {wall:.3f} s a launch, {cpu:.4f} s of CPU in the driver (median of {len(times)} × {AT_A_TIME})"
        )
    more = [a[0] - b[0] for a, b in zip(found["cluster"], found["local"], strict=True)]
    print(f"the cluster takes {median(more):+.3f} s a launch more ({min(more):+.3f} to {max(more):+.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
