"""A run on a cluster: one for each kind of machine in it, for figures of different machines share no run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from harness.layers.discover import scan
from harness.records.environment import kind_of
from harness.records.store import FILE, Record, read
from harness.run import opening
from harness.run.bench import Outcome, Place, Settings, execute
from harness.run.child import WORKER
from harness.run.cluster import Cluster, Node, connected
from harness.run.ray_pool import RayPool
from harness.run.wanted import UsageError, Wanted

Kinds = dict[str, list[Node]]


def execute_on(
    address: str, device_kind: str, wanted: Wanted, settings: Settings, label: Callable[[Record, str], Path],
    say: Callable[[str], None], program: str = WORKER,
) -> list[Outcome]:  # fmt: skip
    """Do a run on each kind of machine of a cluster, one kind after the other.

    The run of a kind goes to a folder of that name in ``settings.out``; where that is a run itself, which is to go on,
    on the kind on which it began.

    Args:
        address: see ``cluster.connected``.
        device_kind: only kinds whose names have this in them; all if "".
        say: takes lines about nodes.

    Raises:
        UsageError, StoreError, SourceError: see ``bench.execute``; or no node can take part, or none is of that kind.
        WorkerError: no node is left.
    """
    scan(settings.sources)
    if settings.out is not None:
        _check(settings.out, settings.resume)
    with connected(address) as ray:
        cluster = Cluster(ray, settings.sources, settings.timeout, wanted.devices != ("cpu",), say, program)
        try:
            kinds = _chosen(_kinds(cluster.survey()), device_kind)
            if settings.out is not None and (settings.out / FILE).exists():
                kinds = _as_before(kinds, settings.out)
            for other in set(cluster.nodes) - {node for nodes in kinds.values() for node in nodes}:
                cluster.dismiss(other)
            outcomes = []
            for name, nodes in kinds.items():
                say(f"{name}: {_count(nodes)}")
                assert nodes[0].described is not None
                place = Place(nodes[0].described, RayPool(ray, nodes, cluster))
                outcomes.append(execute(wanted, _in_folder(settings, name), label, place))
            return outcomes
        finally:
            cluster.close()


def _check(out: Path, resume: bool) -> None:
    """Refuse a folder that cannot be used before any node is asked."""
    if not (resume and any(out.glob(f"*/{FILE}"))):
        opening.check_folder(out, resume)


def _kinds(nodes: list[Node]) -> Kinds:
    """Nodes by the name of their kind, in order; kinds of one name get numbers."""
    by_kind: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        by_kind.setdefault(node.kind, []).append(node)
    found: Kinds = {}
    for same in by_kind.values():
        name, label = same[0].label, same[0].label
        while name in found:
            name = f"{label}-{int(name.removeprefix(label).removeprefix('-') or 1) + 1}"
        found[name] = same
    return dict(sorted(found.items()))


def _count(nodes: list[Node]) -> str:
    return f"{len(nodes)} node{'s' * (len(nodes) != 1)}"


def _chosen(kinds: Kinds, asked: str) -> Kinds:
    found = {name: nodes for name, nodes in kinds.items() if asked.lower() in name}
    if not found:
        have = ", ".join(f"{name} ({_count(nodes)})" for name, nodes in kinds.items())
        raise UsageError(f"--device-kind {asked}: no node of that kind; the cluster has {have}")
    return found


def _as_before(kinds: Kinds, out: Path) -> Kinds:
    """The kind on which a run began."""
    run = read(out)
    before = run.of("environment")[0] if run.of("environment") else {}
    for name, nodes in kinds.items():
        if kind_of(nodes[0].environment) == kind_of(before):
            return {name: nodes}
    raise UsageError(f"--resume: no node is of the kind of machine on which the run in {out} began")


def _in_folder(settings: Settings, name: str) -> Settings:
    if settings.out is None or (settings.out / FILE).exists():
        return settings
    out = settings.out / name
    return dataclasses.replace(settings, out=out, resume=settings.resume and (out / FILE).exists())
