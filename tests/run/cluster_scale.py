"""What a run of 1,000, 10,000 and 100,000 groups costs the driver: ``python -m tests.run.cluster_scale [GROUPS ...]``.

The whole run but its report: plan, header, gate, queue, journal, on a pool of nodes whose work is simulated and takes no
time. Shows CPU seconds and the highest resident memory of each, in a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.records.schema import LayerFacts, Samples, StrategyFacts, as_record
from harness.records.store import FILE
from harness.run.bench import Place, Settings, execute
from harness.run.cluster import Node
from harness.run.jobs import Job
from harness.run.opening import Described
from harness.run.ray_pool import RayPool
from harness.run.seat import Heard
from harness.run.wanted import Wanted

NODES, ROUNDS = 64, 11
STRATEGIES = ("plain", "other")
ENVIRONMENT = {"kind": "environment", "cpu": "A CPU", "physical_cores": 1, "affinity": [0], "compiler": True, "python": "3"}  # fmt: skip


class Remote:
    """A method of an actor that answers at once; a reference holds what it answers."""

    def __init__(self, method: Any) -> None:
        self.remote = lambda *given: Reference(method(*given))


class Reference:
    """An answer that is there already."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer


class Seat:
    """A node whose work takes no time."""

    def __init__(self) -> None:
        self.hear = Remote(lambda job, seconds: Heard([_message(c) for c in Job.from_json(job).cells], True))
        self.end = Remote(lambda grace: (0, ""))


def _message(cell: Any) -> dict[str, Any]:
    """A cell that is done, with samples as a real one has them."""
    numbers = [0.001] * ROUNDS
    records = [
        as_record(Samples(cell.group, name, again, cell.passed, cell.launch, 10, numbers, *[[0] * ROUNDS] * 3, numbers, numbers, True, "digest", call_seconds=numbers))
        for name, again in [*((s, False) for s in cell.strategies), (cell.baseline, True)]
        if cell.kind == "time"
    ]  # fmt: skip
    return {"cell": cell.name, "seconds": 0.0, "records": records}


def measure(groups: int, folder: Path) -> str:
    """A run in this process; what that took."""
    sizes = {"cpu": {"quick": [f"N={n + 1}" for n in range(groups)]}}
    layers = (LayerFacts("one", "digest", "one", "y", STRATEGIES[0], sizes),)
    facts = tuple(
        StrategyFacts("one", name, "", f"{name}.py", "digest", devices=("cpu",), dtypes=("float32",))
        for name in STRATEGIES
    )
    described = Described(layers, facts, (), ENVIRONMENT)
    ray = SimpleNamespace(
        get=lambda ref: ref.answer, wait=lambda refs, num_returns, timeout: (refs, []),
        exceptions=SimpleNamespace(RayError=RuntimeError),
    )  # fmt: skip
    pool = RayPool(ray, [Node(str(n), f"node {n}", Seat(), described) for n in range(NODES)])
    wanted = Wanted(profile="quick", launches=1)
    settings = Settings((), folder, budget=1e9)  # or groups are left out to stay within the profile's minutes
    execute(wanted, settings, lambda *_: folder, Place(described, pool))
    used = os.times()
    seconds = used.user + used.system
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    written = (folder / FILE).stat().st_size / 2**20
    cells = (folder / FILE).read_bytes().count(b'"kind": "cell"')
    return (
        f"{groups:>7,} groups: {cells:>7,} cells, {seconds:6.1f} s of CPU ({1e3 * seconds / groups:.2f} ms a group), "
        f"{peak:.2f} GiB, records of {written:,.0f} MiB"
    )


def main(arguments: list[str]) -> None:
    """Each number of groups in a fresh process; or, given a folder too, in this one."""
    if len(arguments) == 2 and Path(arguments[1]).is_dir():
        print(measure(int(arguments[0]), Path(arguments[1])))
        return
    for count in arguments or ("1000", "10000", "100000"):
        with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
            done = subprocess.run([sys.executable, "-m", "tests.run.cluster_scale", count, scratch], stderr=subprocess.PIPE, text=True)  # fmt: skip
            if done.returncode:
                sys.exit(done.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
