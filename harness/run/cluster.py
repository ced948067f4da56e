"""Nodes of a Ray cluster as a place for workers. The only module that imports Ray, and only when it is asked for.

Ray owns the devices: each seat (see seat.py) is an actor that has all CPUs of its node, or one GPU, for itself, and Ray
says when it is gone. Which cells are done, who is blamed and what is run again is the conductor's business.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.records.environment import kind_of, machine_label
from harness.records.store import Record
from harness.run import opening
from harness.run.child import WORKER
from harness.run.conductor import WorkerError
from harness.run.pool import LostError
from harness.run.progress import Reporter
from harness.run.ray_pool import RayPool
from harness.run.seat import Seat, facts
from harness.run.wanted import UsageError

KNOCK_SECONDS = 10.0
LOOK_SECONDS = 2.0
HEAD_SECONDS = 20.0
"""Without an answer of the head, which may be starting again, before the run is given up."""
JOIN_SECONDS = 60.0
"""For a node to give its device and say what it has."""
LEAVE_SECONDS = 5.0
MOST_STRIKES = 3


class RefusedError(RuntimeError):
    """A node that cannot take part; one line that says why."""


@dataclass(eq=False)
class Node:
    """A device of a node that has joined.

    Attributes:
        key: unique in the cluster, and again after the node has come back.
        name: ``node 1``, for records and lines; names of hosts go into neither.
        seat: the handle of its actor.
        described: what a worker found there.
    """

    key: str
    name: str
    seat: Any
    described: opening.Described | None = None

    @property
    def environment(self) -> Record:
        """As a worker there recorded it."""
        assert self.described is not None
        return self.described.environment

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for machines of one kind with the same software."""
        assert self.described is not None
        return (*kind_of(self.environment), *self.described.stack.values())

    @property
    def label(self) -> str:
        """The kind in words, as in the names of folders."""
        return machine_label(self.environment)


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster: ``ray`` for the one of this machine or of RAY_ADDRESS, or ``ray://HOST:PORT``.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster, or it is of another version.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(f"--on {address} needs Ray: pip install 'layerbench[cluster]'") from None
    where = os.environ.get("RAY_ADDRESS", "auto") if address == "ray" else address
    try:
        _knock(where)
        ray.init(address=where, log_to_driver=False, logging_level=logging.CRITICAL)
    except ImportError:
        raise UsageError(f"--on {address} needs Ray's client: pip install 'ray[client]'") from None
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"--on {address}: no cluster that can be used ({why}); `ray start --head` starts one"
        ) from None
    # Ray prints what its daemons say of lost nodes on standard output, which is for answers
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            yield ray
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


class Cluster:
    """The nodes of a cluster, and which of them can take part.

    Args:
        sources: where layers and strategies are found, on each node.
        timeout: seconds without a sign of life after which a worker is given up.
        gpus: whether each GPU is a device of its own; else each node is one device, with all its CPUs.
        say: takes lines for the user.
        program: the module that worker processes run.

    Attributes:
        alive: keys of the devices that were there when last looked for.
        nodes: that have joined and neither been lost nor dismissed.
    """

    def __init__(
        self, ray: Any, sources: tuple[str, ...], timeout: float, gpus: bool, say: Callable[[str], None],
        program: str = WORKER,
    ) -> None:  # fmt: skip
        self.ray = ray
        self._sources, self._timeout, self._gpus, self._say, self._program = sources, timeout, gpus, say, program
        self._due = facts(sources)
        self.alive: set[str] = set()
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self.nodes: list[Node] = []
        self._joining: dict[str, Future[Node]] = {}
        self._half: dict[str, Node] = {}
        self._strikes: Counter[str] = Counter()
        self._looked_at = 0.0
        self._head = "" if ray.util.client.ray.is_connected() else ray.get_runtime_context().gcs_address
        self._answered_at = time.monotonic()
        self._threads = ThreadPoolExecutor(8)

    def survey(self) -> list[Node]:
        """All nodes that can take part now.

        Raises:
            UsageError: there is none.
        """
        found = self.joined()
        while self._joining:
            time.sleep(0.1)
            found += self.joined()
        if not found:
            raise UsageError(f"none of the {len(self._names)} nodes of the cluster can take part")
        return sorted(found, key=lambda node: int(node.name.split()[1]))

    def joined(self) -> list[Node]:
        """Nodes that have joined since the last call; asks those that are new or have come back to join.

        Raises:
            WorkerError: the head of the cluster is gone.
        """
        if time.monotonic() - self._looked_at > LOOK_SECONDS and self._answers():
            self._looked_at = time.monotonic()
            devices = self._devices()
            self.alive = set(devices)
            for key, (node, resources) in devices.items():
                if key not in self._taken:
                    self._taken.add(key)
                    name = self._names.setdefault(key, f"node {len(self._names) + 1}")
                    self._joining[key] = self._threads.submit(self._join, key, name, node, resources)
        found = []
        for key, future in [(k, f) for k, f in self._joining.items() if f.done()]:
            del self._joining[key]
            try:
                found.append(future.result())
                self.nodes.append(found[-1])
                self._warn_of_niceness(found[-1])
            except RefusedError as refused:
                self._say(f"{self._names[key]} is left out: {refused}")
            except (LostError, WorkerError, self.ray.exceptions.RayError) as error:
                self._strike(key, str(error))
        return found

    def lost(self, node: Node, why: str) -> None:
        """A node has gone; it may come back."""
        self.dismiss(node)
        self._strike(node.key, why)

    def dismiss(self, node: Node) -> None:
        """Give a node's device back."""
        self.nodes = [other for other in self.nodes if other is not node]
        with suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.kill(node.seat)

    def close(self) -> None:
        """Wait for no node any more, and let all leave.

        Threads that ask nodes to join must have ended before Ray does, which would take the process with it.
        """
        self._threads.shutdown(wait=False, cancel_futures=True)
        for node in list(self._half.values()):
            self.dismiss(node)
        self._threads.shutdown(wait=True)
        if self.nodes:
            leaving = [node.seat.leave.remote() for node in self.nodes]
            self.ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)

    def _answers(self) -> bool:
        """Whether the head is there: Ray waits for it for a minute, and then ends the process."""
        try:
            _knock(self._head)
        except OSError:
            if time.monotonic() - self._answered_at > HEAD_SECONDS:
                raise WorkerError(
                    "the head of the cluster is gone; finished cells are kept: go on with --resume"
                ) from None
            return False
        self._answered_at = time.monotonic()
        return True

    def _warn_of_niceness(self, node: Node) -> None:
        niceness = node.environment.get("niceness") or 0
        if niceness > 0:
            self._say(
                f"{node.name} times at niceness {niceness}, behind whatever else runs there: start Ray on it with"
                " RAY_worker_niceness=0"
            )

    def _strike(self, key: str, why: str) -> None:
        self._strikes[key] += 1
        if self._strikes[key] < MOST_STRIKES:
            self._taken.discard(key)
        else:
            self._say(f"{self._names[key]} is left out from now on: {' '.join(why.split())[:200]}")

    def _devices(self) -> dict[str, tuple[str, dict[str, float]]]:
        """By key: the node's id, and what of it a seat takes."""
        found: dict[str, tuple[str, dict[str, float]]] = {}
        for node in self.ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0))
            gpus = int(node["Resources"].get("GPU", 0)) if self._gpus else 0
            if node["Alive"] and cpus:
                for number in range(max(1, gpus)):
                    share = {"num_cpus": float(max(1, cpus // max(1, gpus))), "num_gpus": float(min(1, gpus))}
                    found[f"{node['NodeID']}/{number}"] = (node["NodeID"], share)
        return found

    def _join(self, key: str, name: str, node: str, resources: dict[str, float]) -> Node:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self.ray.remote(**resources, scheduling_strategy=there, max_restarts=0)(Seat)
        joining = self._half[key] = Node(key, name, actor.remote(self._program))
        try:
            self._refuse_another(self.ray.get(joining.seat.facts.remote(self._sources), timeout=JOIN_SECONDS))
            with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
                alone = RayPool(self.ray, [joining])
                quiet = Reporter(Console(quiet=True))
                joining.described = opening.describe(self._sources, Path(scratch), self._timeout, quiet, alone)
        except self.ray.exceptions.GetTimeoutError:
            self.dismiss(joining)
            raise RefusedError(f"its device was not free within {JOIN_SECONDS:.0f} s") from None
        except RefusedError:
            self.dismiss(joining)
            raise
        finally:
            del self._half[key]
        return joining

    def _refuse_another(self, found: dict[str, str]) -> None:
        """Hold versions and source against those of this machine; which build of torch it is may differ."""
        for name, due in self._due.items():
            there, here = found[name].split("+")[0], due.split("+")[0]
            if there == here:
                continue
            if name == "source":
                raise RefusedError("its source of layerbench, layers or strategies is another one, or not there")
            raise RefusedError(f"it has {f'{name} {there}' if there else f'no {name}'}, and {name} {here} is due")
