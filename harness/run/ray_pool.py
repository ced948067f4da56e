"""Nodes of one kind in a Ray cluster as a pool, and a launch on one of them as the conductor sees it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.records.schema import Group
from harness.records.store import Record
from harness.run.child import GarbageError
from harness.run.conductor import WorkerError
from harness.run.jobs import Job
from harness.run.pool import Launch, LostError
from harness.run.seat import Heard

if TYPE_CHECKING:
    from harness.run.cluster import Cluster, Node

HEAR_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""Without any node, before the run is given up."""


class RayPool:
    """Nodes of one kind (see ``Pool``). All launches of a group run on the same node while that is there.

    Args:
        cluster: where lost nodes are reported and new ones come from; None for just these.
    """

    spreads = True

    def __init__(self, ray: Any, nodes: Sequence[Node], cluster: Cluster | None = None) -> None:
        self._ray, self._cluster = ray, cluster
        self._nodes = {node.key: node for node in nodes}
        self._free = list(nodes)
        self._first = nodes[0]
        self._running: list[Away] = []
        self._queues: dict[str, deque[Job]] = {}
        self._homes: dict[Group, str] = {}
        self._unwritten = [node for node in nodes if node.described]
        self._losses = 0
        self._alone_since = time.monotonic()

    @property
    def slots(self) -> int:
        """Devices."""
        return max(1, len(self._nodes))

    @property
    def waiting(self) -> int:
        """Jobs not started yet."""
        return sum(map(len, self._queues.values()))

    def offer(self, job: Job) -> None:
        """See ``Pool``; a job waits for the node of its group, or for any."""
        home = self._homes.get(job.cells[0].group, "")
        self._queues.setdefault(home if home in self._nodes else "", deque()).append(job)

    def start(self, parallel: int) -> Away | None:
        """See ``Pool``; on a node there is never more than one."""
        for node in self._free:
            queue = self._queues.get(node.key) or self._queues.get("")
            if queue:
                job = queue.popleft()
                if job.cells[0].group.dims:
                    self._homes[job.cells[0].group] = node.key
                self._free.remove(node)
                self._running.append(Away(self, node, job))
                return self._running[-1]
        return None

    def ready(self, seconds: float) -> list[Away]:
        """See ``Pool``.

        Raises:
            WorkerError: no node is left, and none has come for a while.
        """
        self._welcome()
        if not self._running:
            if self._nodes:
                self._alone_since = time.monotonic()
            elif self._cluster is None or time.monotonic() - self._alone_since > PATIENCE_SECONDS:
                raise WorkerError("no node of the cluster is left; finished cells are kept: go on with --resume")
            time.sleep(seconds if not self._nodes else 0.0)
            return []
        self._alone_since = time.monotonic()
        refs = {launch.ref: launch for launch in self._running}
        self._ray.wait(list(refs), num_returns=1, timeout=seconds)
        done, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        return [refs[ref] for ref in done]

    def release(self, launch: Launch) -> None:
        """See ``Pool``."""
        (mine,) = [away for away in self._running if away is launch]
        self._running.remove(mine)
        if mine.at.key in self._nodes:
            self._free.append(mine.at)

    def clear(self) -> None:
        """See ``Pool``."""
        self._queues.clear()
        for launch in list(self._running):
            with suppress(LostError):
                launch.end()
            self.release(launch)

    def news(self) -> list[Record]:
        """The environment of each node that has joined."""
        found = [{**node.environment, "node": node.name} for node in self._unwritten]
        self._unwritten.clear()
        return found

    def state(self) -> str:
        """How many nodes there are, and how many were lost."""
        count = len(self._nodes)
        return f"{count} node{'s' * (count != 1)}" + (f" ({self._losses} lost)" if self._losses else "")

    def get(self, node: Node, ref: Any) -> Any:
        """What a seat answers.

        Raises:
            LostError: the node is gone, or cannot be used any more.
        """
        try:
            return self._ray.get(ref)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            why = _why(getattr(error, "cause", None))
            self._forget(node, why)
            raise LostError(f"{node.name} {why}") from None

    def _forget(self, node: Node, why: str) -> None:
        if self._nodes.pop(node.key, None) is None:
            return
        self._losses += 1
        self._free = [other for other in self._free if other is not node]
        self._queues.setdefault("", deque()).extend(self._queues.pop(node.key, ()))
        if self._cluster is not None:
            self._cluster.lost(node, why)

    def _welcome(self) -> None:
        """Let go of idle nodes that have gone, and take in those that have joined and are of this kind."""
        if self._cluster is None:
            return
        newcomers = self._cluster.joined()
        for node in [n for n in self._free if n.key not in self._cluster.alive]:
            self._forget(node, "was lost")
        for node in newcomers:
            if node.kind == self._first.kind:
                self._nodes[node.key] = node
                self._free.append(node)
                self._unwritten.append(node)
            else:
                self._cluster.dismiss(node)


def _why(cause: BaseException | None) -> str:
    """How a node was lost, from what the seat raised; None where it did not answer."""
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot write: {cause.strerror}"
    return f"cannot go on: {type(cause).__name__}: {cause}" if cause else "was lost"


class Away:
    """A launch on a node (see ``Launch``)."""

    def __init__(self, pool: RayPool, node: Node, job: Job) -> None:
        self.job, self.at, self.node = job, node, node.name
        self.done: set[str] = set()
        self.error = ""
        self._pool, self._heard = pool, Heard([])
        self.ref = node.seat.hear.remote(job.to_json(), HEAR_SECONDS)

    @property
    def note(self) -> tuple[str, str, str] | None:
        """What the worker was at when it was heard last."""
        return self._heard.note

    @property
    def finished(self) -> bool:
        """Whether all its cells are done."""
        return self.done >= {cell.name for cell in self.job.cells}

    def idle_seconds(self) -> float:
        """By the node's clock."""
        return self._heard.idle

    def messages(self) -> tuple[list[dict[str, Any]], bool]:
        """See ``Child``."""
        heard: Heard = self._pool.get(self.at, self.ref)
        self._heard = heard
        if heard.garbage:
            raise GarbageError
        if not heard.last and not self.done | {m["cell"] for m in heard.messages} >= {c.name for c in self.job.cells}:
            self.ref = self.at.seat.hear.remote(None, HEAR_SECONDS)
        return heard.messages, heard.last

    def end(self, grace: float = 0.0) -> int | None:
        """See ``Child``."""
        code, self.error = self._pool.get(self.at, self.at.seat.end.remote(grace))
        return code  # type: ignore[no-any-return]
