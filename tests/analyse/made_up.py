"""Runs that are made up: records as a worker would write them, with times that a test chooses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.schema import SCHEMA, CellEnd, Group, Samples
from harness.records.store import Journal, Run, read

GROUP = Group("wave", "N=64,D=8", "float32", "cpu", 1)
CUDA = Group("wave", "N=64,D=8", "float32", "cuda", 1)
Seconds = Callable[[np.random.Generator], float]


def header(group: Group = GROUP, passes: tuple[str, ...] = ("forward",), **more: Any) -> dict[str, Any]:
    """Of a run with one group."""
    return {
        "kind": "run", "schema": SCHEMA, "started": "2026-01-01T00:00:00Z", "sources": ["waves"],
        "wanted": {"strategies": ["fast", "new", "other"], "layers": [group.layer], "scope": {}}, "baselines": {group.layer: "autograd"},
        "groups": [vars(group)], "passes": list(passes), "launches": 8, "devices": [group.device], "stack": {"torch": "2"},
        "digests": {"wave": "a", "wave/autograd": "b"}, **more,
    }  # fmt: skip


def strategy(name: str, simplicity: int = 1) -> dict[str, Any]:
    """Facts of a strategy."""
    return {
        "kind": "strategy", "layer": GROUP.layer, "strategy": name, "simplicity": simplicity, "needs": [], "kernels": [],
        "digest": name, "color": None, "marker": None, "dash": None,
    }  # fmt: skip


def samples(
    name: str, launch: int, seconds: Seconds, rng: np.random.Generator, again: bool = False, group: Group = GROUP,
    passed: str = "forward", regime: str = "wall", **more: Any,
) -> Samples:  # fmt: skip
    """One arm in one launch, 11 rounds of 10 calls."""
    times = [10 * seconds(rng) for _ in range(11)]
    quiet = {"faults": [0] * 11, "switches": [0] * 11, "cpu_seconds": times, "wall_seconds": times}
    return Samples(
        group, name, again, passed, launch, 10, times, [0] * 11, **{**quiet, **more}, steady=True, digest="d",
        regime=regime,
    )  # fmt: skip


def write(folder: Path, *items: Any, head: Mapping[str, Any] | None = None) -> Run:
    """A run of these records."""
    journal = Journal(folder)
    journal.write([dict(head or header()), {"kind": "environment", "torch": "2"}, *items, CellEnd(0.0)], "all", 1)
    journal.close()
    return read(folder)


def about(seconds: float, spread: float = 0.01) -> Seconds:
    """Times around a mean."""
    return lambda rng: float(seconds * np.exp(rng.normal(0, spread)))


def run_of(
    folder: Path, times: Mapping[str, float], launches: int = 8, head: Mapping[str, Any] | None = None, seed: int = 0,
    **more: Any,
) -> Run:  # fmt: skip
    """A run in which each strategy takes its time; the baseline has its second arm."""
    rng = np.random.default_rng(seed)
    items: list[Any] = [strategy(name) for name in times]
    for launch in range(1, launches + 1):
        items += [samples(name, launch, about(t), rng, **more) for name, t in times.items()]
        items.append(samples("autograd", launch, about(times["autograd"]), rng, again=True, **more))
    return write(folder, *items, head=head)
