"""What fits: how many gates beside each other, and which groups into the time that is left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from harness.records.schema import Group

GATE_BYTES = 12e9
"""Of a GPU's memory for each gate that runs at a time: a reference, and an oracle in float64, at the largest size."""


def gates_at_a_time(devices: Sequence[str], gpu_bytes: int) -> int:
    """Two where there are two processors: nothing is timed in a gate. On a GPU, where kernels are compiled most of the
    time, as many as there are processors (but two) and memory for."""
    processors = len(os.sched_getaffinity(0))
    if "cuda" not in devices:
        return min(2, processors)
    return max(1, min(processors - 2, int(gpu_bytes / GATE_BYTES)))


def last_seconds(groups: Sequence[Group], cells: Iterable[tuple[str, float]]) -> dict[Group, float]:
    """Seconds that the latest launch of each group took, all its passes, warm-up among them; without those not seen.

    Args:
        cells: name and seconds of closed cells, in the order in which they were closed.
    """
    by_name = {f"time {group}": group for group in groups}
    by_launch: dict[Group, dict[str, float]] = {}
    for cell, seconds in cells:
        what, _, launch = cell.rpartition(" launch ")
        group = by_name.get(what.rpartition(" ")[0])
        if group is not None:
            found = by_launch.setdefault(group, {})
            found[launch] = found.get(launch, 0.0) + seconds
    return {group: list(found.values())[-1] for group, found in by_launch.items()}


def that_fit(
    groups: Sequence[Group], seconds: Mapping[Group, float], around: float, launches: float, left: float
) -> list[Group]:
    """The most telling groups first, each one for which there is still time; always the first.

    Args:
        seconds: of one launch of each group.
        around: seconds of a launch outside of its groups: starting processes, importing.
        launches: to come.
        left: seconds.
    """
    kept = list(groups[:1])
    taken = around + sum(seconds[group] for group in kept)
    for group in groups[1:]:
        if (taken + seconds[group]) * launches <= left:
            kept.append(group)
            taken += seconds[group]
    return kept
