"""Small Ray nodes on this machine, which can be felled: ``python -m tests.run.ray_nodes`` keeps them.

They belong to a process of their own, which takes ``add KIND`` and ``fell NUMBER`` on standard input and answers each
with a line; so a test is a driver and nothing else, and may ask from any thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import ROOT
from tests.run.stub import KIND

STORE_BYTES = 80 * 2**20


class Nodes:
    """A cluster whose head has no CPUs, and so no seat; each node has one."""

    def __init__(self) -> None:
        # nodes find the tests' worker there
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._keeper = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.run.ray_nodes"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self.alive: list[int] = []
        self.address = self._answer()

    def _answer(self) -> str:
        assert self._keeper.stdout is not None
        for line in self._keeper.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError("the keeper of the nodes has ended")

    def _ask(self, what: str) -> str:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(what + "\n")
        self._keeper.stdin.flush()
        return self._answer()

    def add(self, kind: str = "A CPU") -> int:
        """A node of a kind of machine; its number."""
        self.alive.append(int(self._ask(f"add {kind}")))
        return self.alive[-1]

    def fell(self, node: int) -> None:
        """End a node as a power cut does."""
        self.alive.remove(node)
        self._ask(f"fell {node}")

    def close(self) -> None:
        """End all."""
        self._keeper.communicate(timeout=60)


@contextmanager
def nodes(count: int) -> Iterator[Nodes]:
    """So many nodes, which ``--on ray`` finds."""
    found = Nodes()
    before = os.environ.get("RAY_ADDRESS")
    try:
        for _ in range(count):
            found.add()
        os.environ["RAY_ADDRESS"] = found.address
        yield found
    finally:
        os.environ.pop("RAY_ADDRESS")
        if before is not None:
            os.environ["RAY_ADDRESS"] = before
        found.close()


def keep() -> None:
    """The process that they belong to."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    found: list[Any] = []
    print(f"> {cluster.address}", flush=True)
    for line in sys.stdin:
        what, _, which = line.strip().partition(" ")
        if what == "add":
            found.append(cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, env_vars={KIND: which}))
            print(f"> {len(found) - 1}", flush=True)
        else:
            cluster.remove_node(found[int(which)], allow_graceful=False)
            print(f"> {which}", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    keep()
