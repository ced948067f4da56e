"""Which groups fit into the time that is left, from what a launch of each has taken so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.records.schema import Group
from harness.records.store import Record


def last_seconds(groups: Sequence[Group], cells: Iterable[Record]) -> dict[Group, float]:
    """Seconds that the latest launch of each group took, all its passes, warm-up among them; without those not seen.

    Args:
        cells: ``cell`` records, in the order in which they were closed.
    """
    by_launch: dict[Group, dict[str, float]] = {}
    for cell in cells:
        what, _, launch = cell["cell"].rpartition(" launch ")
        for group in groups:
            if what.rpartition(" ")[0] == f"time {group}":
                found = by_launch.setdefault(group, {})
                found[launch] = found.get(launch, 0.0) + cell["seconds"]
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
    for group in groups[1:]:
        if (around + sum(seconds[g] for g in (*kept, group))) * launches <= left:
            kept.append(group)
    return kept
