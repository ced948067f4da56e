"""Which sizes, dtypes and numbers of threads are measured, and which passes at each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.records.dims import dims_of, sizes_of
from harness.records.modes import LOOPED
from harness.records.schema import Group, LayerFacts
from harness.run.narrowing import dim_names
from harness.run.wanted import Machine, Profile, UsageError, Wanted


def groups_of(
    wanted: Wanted, profile: Profile, layers: Sequence[LayerFacts], machine: Machine
) -> Mapping[Group, tuple[str, ...]]:
    """Every group with its passes, the most telling first.

    First comes the first size of each layer, then other sizes, other dtypes, other numbers of threads. Passes that go
    through a loop are timed once for each layer and device, at its smallest size, or where sizes are asked for by name
    at each of those; ``per_sample`` is for layers that have samples.

    Raises:
        UsageError: a layer without sizes for a device, or none that has any of the passes.
    """
    ranked: list[tuple[int, Group]] = []
    for device in wanted.devices:
        for layer in layers:
            own = [d for d in wanted.dims if tuple(dims_of(d)) == dim_names(layer)]
            sizes = own or layer.sizes.get(device, {}).get(wanted.profile, [])
            if not sizes:
                raise UsageError(
                    f"layer {layer.layer} states no {wanted.profile} sizes for {device}: add them to `sizes`"
                )
            threads = wanted.threads or (1,)
            for number, dims in enumerate(sizes):
                first = number == 0
                dtypes = wanted.dtypes or profile.dtypes_on(device, first)
                for dtype in dtypes:
                    many = device == "cpu" and not wanted.threads and first and profile.every_core
                    every = (machine.physical_cores,) if many and dtype == dtypes[0] else ()
                    for n in dict.fromkeys(threads[:1] if device == "cuda" else (*threads, *every)):
                        rank = 10 * (n != threads[0]) + 5 * (dtype != dtypes[0]) + (not first)
                        ranked.append((rank, Group(layer.layer, dims, dtype, device, n)))
    groups = [group for _, group in sorted(ranked, key=lambda pair: pair[0])]
    samples = {layer.layer: layer.has_samples for layer in layers}
    small = set(groups) if wanted.dims else _smallest(groups)
    found = {
        g: tuple(
            p for p in profile.passes if (g in small or p not in LOOPED) and (p != "per_sample" or samples[g.layer])
        )
        for g in groups
    }
    if not any(found.values()):
        raise UsageError(
            f"--pass {', '.join(profile.passes)}: {', '.join(samples)} has no samples that can go one by one"
        )
    return {group: passes for group, passes in found.items() if passes}


def _smallest(groups: Sequence[Group]) -> set[Group]:
    """Of each layer and device the group of the smallest size, the most telling of those."""
    found: dict[tuple[str, str], Group] = {}
    for group in groups:
        least = found.setdefault((group.layer, group.device), group)
        if _elements(group) < _elements(least):
            found[group.layer, group.device] = group
    return set(found.values())


def _elements(group: Group) -> int:
    return math.prod(sizes_of(group.dims).values())
