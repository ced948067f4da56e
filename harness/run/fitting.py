"""Which groups fit into the time that is left, from what a launch of each has taken so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.records.schema import Group


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
