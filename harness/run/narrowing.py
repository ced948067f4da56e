"""Less than a profile, or other sizes: only some passes and sizes of it, and strategies without their variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.records.dims import dims_of, dims_text, sizes_of
from harness.records.modes import PASSES
from harness.records.schema import LayerFacts, StrategyFacts
from harness.run.wanted import PROFILES, Profile, UsageError, Wanted


def with_passes(profile: Profile, wanted: Wanted) -> Profile:
    """The profile with only the passes that are wanted, and those that a CUDA backward is derived from."""
    asked = set(wanted.passes or profile.passes)
    if "backward" in asked and "cuda" in wanted.devices:
        asked |= {"forward", "forward_backward"}
    return dataclasses.replace(profile, passes=tuple(p for p in PASSES if p in asked))


def with_dims(wanted: Wanted, layers: Sequence[LayerFacts]) -> tuple[Wanted, tuple[str, ...]]:
    """Wanted sizes with their names in the layer's order, and the layers that they are of.

    Raises:
        UsageError: sizes that are of no layer, a value that an option may not have, or a layer that was asked for by
            name and has none of the sizes.
    """
    by_name = {layer.layer: layer for layer in layers}
    names = {name: dim_names(layer) for name, layer in by_name.items()}
    found: dict[str, tuple[str, ...]] = {}
    for text in wanted.dims:
        try:
            dims = dims_of(text)
        except ValueError:
            dims = {}
        own = {layer: order for layer, order in names.items() if dims and set(order) == set(dims)}
        if not own or any(size < 1 for size in sizes_of(text).values()):
            known = "; ".join(f"{layer}: {','.join(f'{n}=…' for n in order)}" for layer, order in names.items())
            raise UsageError(f"--dims {text}: name exactly a layer's dims, each size at least 1 ({known})")
        for layer, order in own.items():
            _check_options(text, dims, by_name[layer])
            found[layer] = (*found.get(layer, ()), dims_text({n: dims[n] for n in order}))
    for layer in wanted.layers:
        if layer not in found:
            raise UsageError(f"--dims: none of them is a size of layer {layer} ({', '.join(names[layer])})")
    sizes = tuple(dict.fromkeys(size for mine in found.values() for size in mine))
    return dataclasses.replace(wanted, dims=sizes), tuple(layer for layer in names if layer in found)


def with_scope_dims(wanted: Wanted, layers: Sequence[LayerFacts]) -> Wanted:
    """What the gate is to check, its size with its names in a layer's order; a size may be 0 there.

    Raises:
        UsageError: it is a size of none of the layers.
    """
    text = wanted.scope.dims
    try:
        dims = dims_of(text)
    except ValueError:
        dims = {}
    orders = {layer.layer: dim_names(layer) for layer in layers}
    order = next((order for order in orders.values() if dims and set(order) == set(dims)), None)
    if order is None:
        known = "; ".join(f"{name}: {','.join(f'{n}=…' for n in names)}" for name, names in orders.items())
        raise UsageError(f"--dims {text}: name exactly a layer's dims ({known})")
    scope = dataclasses.replace(wanted.scope, dims=dims_text({n: dims[n] for n in order}))
    return dataclasses.replace(wanted, scope=scope)


def _check_options(text: str, dims: dict[str, int], layer: LayerFacts) -> None:
    for name, values in layer.options.items():
        if dims[name] not in values:
            raise UsageError(f"--dims {text}: {layer.layer}'s {name} is one of {', '.join(map(str, values))}")


def dim_names(layer: LayerFacts) -> tuple[str, ...]:
    """Names of a layer's dims, in its order."""
    sizes = next((s for profiles in layer.sizes.values() for s in profiles.values() if s), [])
    return tuple(dims_of(sizes[0])) if sizes else ()


def without_variants(wanted: Wanted, strategies: Sequence[StrategyFacts]) -> tuple[Wanted, tuple[str, ...]]:
    """Who names no strategy wants all of them; less the variants where the profile has them on none of the devices.

    Returns:
        The wanted with strategies by name, and the names of the variants left out that would run on one of the devices.
    """
    mine = [s for s in strategies if s.layer in wanted.layers]
    ways = tuple(dict.fromkeys(s.strategy for s in mine))
    if wanted.strategies:
        return wanted, ()
    if not wanted.measure or {*wanted.devices} & {*PROFILES[wanted.profile].variants}:
        return dataclasses.replace(wanted, strategies=ways), ()
    kept = {s.strategy for s in mine if not s.variant_of}
    able = {s.strategy for s in mine if {*s.devices} & {*wanted.devices}}
    left_out = tuple(name for name in ways if name not in kept and name in able)
    return dataclasses.replace(wanted, strategies=tuple(name for name in ways if name in kept)), left_out
