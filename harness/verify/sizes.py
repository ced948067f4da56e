"""Sizes at which the gate asks a layer's strategies, beside those that the layer states."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.layers.spec import Dims, Layer

LONG, LONG_INTERPRETED = 2**16 + 1, 2**12 + 1
LONG_IN_FULL, LONG_IN_FULL_INTERPRETED = 2**12 + 1, 2**10 + 1
"""Rows in float32, where nothing grows with their number but what a block leaves out; in the interpreter elements."""
MANY, WHOLE, SEVERAL = 577, 512, 97
"""Sizes that take many tiles, many without a rest, and several: enough for kernels that deal out tiles of 64 in groups
of 8. A dim of LONG_INTERPRETED takes more than any block holds."""
MANY_FLOPS, MANY_ELEMENTS = 10**8, 2**15
"""Work at most, and where one dim alone is large, elements of an operand: the interpreter is slow."""
FEW_ROWS = 3
FINE, COARSE, SMALL = 8, 128, (1, 2)
"""Sizes that vector loads and whole tiles divide, and sizes below most windows."""
TURN_FLOPS, TURN_ELEMENTS = 10**8, 2**17
TURN_FLOPS_INTERPRETED, TURN_ELEMENTS_INTERPRETED = 10**6, 2**13
"""Work and elements of an operand at most, where one dim after the other takes such a size."""
STATED_FLOPS, STATED_ELEMENTS = 10**9, 2**22
STATED_FLOPS_INTERPRETED, STATED_ELEMENTS_INTERPRETED = 10**7, 2**15
STATED_FLOPS_CUDA, STATED_ELEMENTS_CUDA = 10**13, 2**24
"""Work and elements of an operand at most, for a size that the layer states to be asked without being measured."""
CHEAP_ELEMENTS = 2**17
"""Elements at most of an operand at a stated size that is asked in every dtype."""


def each_option(layer: Layer) -> list[Dims]:
    """The first size of the gate, and the same with every other value of each option."""
    first = layer.check[0]
    return [first, *({**first, n: v} for n, values in layer.options.items() for v in values if v != first[n])]


def many_tiles(layer: Layer) -> list[Dims]:
    """Sizes at which kernels take many tiles in some dims while the others take several; none where that is much."""
    first = layer.check[0]
    options = {n: first[n] for n in layer.options}
    mixed = [
        {n: many if (n == layer.leading) is leads else SEVERAL for n in first} | options
        for many, leads in ((MANY, True), (MANY, False), (WHOLE, False))
    ]
    return [dims for dims in mixed if layer.possible(dims) and layer.work(dims) <= MANY_FLOPS]


def one_long(layer: Layer) -> list[Dims]:
    """Sizes with one dim that takes many tiles, or more than any block holds; a strategy may refuse them cleanly."""
    first = layer.check[0]
    free = [n for n in first if n != layer.leading and n not in layer.options]
    long = [{**first, n: size} for size in (MANY, LONG_INTERPRETED) for n in free]

    def fits(dims: Dims) -> bool:
        if not layer.possible(dims):
            return False
        elements = max(math.prod(o.sizes(dims)) for o in layer.operands.values())
        return elements <= MANY_ELEMENTS and layer.work(dims) <= MANY_FLOPS

    return [dims for dims in long if fits(dims)]


def few_rows(layer: Layer) -> Dims:
    """The first size of the gate with few of all but the last dim: a Jacobian takes a backward for each element."""
    first = layer.check[0]
    *outer, _ = (n for n in first if n not in layer.options)
    few = {**first, **{n: min(first[n], FEW_ROWS) for n in outer}}
    return few if layer.possible(few) else first


def most_elements(layer: Layer, dims: Dims) -> int:
    """Elements of the largest operand or of the output."""
    output = math.prod(dims[n] for n in layer.output)
    return max(output, *(math.prod(o.sizes(dims)) for o in layer.operands.values()))


def stated_sizes(layer: Layer, device: str, profiles: tuple[str, ...]) -> list[Dims]:
    """The sizes to measure that a layer states for a device in some profiles, each once; without those of ``check``."""
    stated = [dims for name in profiles for dims in layer.sizes.get(device, {}).get(name, ())]
    return [dims for k, dims in enumerate(stated) if dims not in (*layer.check, *stated[:k])]


def too_much(layer: Layer, dims: Dims, device: str, interpreted: bool) -> str:
    """Why a stated size is not asked unless it is measured, in a few words; empty where it is."""
    flops, most = (STATED_FLOPS_CUDA, STATED_ELEMENTS_CUDA) if device == "cuda" else (STATED_FLOPS, STATED_ELEMENTS)
    if interpreted:
        flops, most = STATED_FLOPS_INTERPRETED, STATED_ELEMENTS_INTERPRETED
    where = " in Triton's interpreter" if interpreted else ""
    work, elements = layer.work(dims), most_elements(layer, dims)
    if work > flops:
        return f"{work:.2g} operations, at most {flops:.2g} are done{where} for a size that is not measured"
    if elements > most:
        return f"{elements:,} elements, at most {most:,} are drawn{where} for a size that is not measured"
    return ""


def in_turn(layer: Layer, sizes: tuple[int, ...], interpreted: bool) -> Iterator[Dims]:
    """The first size of the gate with one dim after the other at each of some sizes; none where that is much."""
    first = layer.check[0]
    flops = TURN_FLOPS_INTERPRETED if interpreted else TURN_FLOPS
    most = TURN_ELEMENTS_INTERPRETED if interpreted else TURN_ELEMENTS
    for size in sizes:
        for name in first:
            dims = {**first, name: size}
            if name in layer.options or size == first[name] or not layer.possible(dims):
                continue
            if layer.work(dims) <= flops and most_elements(layer, dims) <= most:
                yield dims


def all_aligned(layer: Layer, interpreted: bool) -> list[Dims]:
    """Sizes with every dim a multiple of FINE, and the largest power of two up to COARSE for which that is not much."""
    first = layer.check[0]
    flops = TURN_FLOPS_INTERPRETED if interpreted else TURN_FLOPS
    most = TURN_ELEMENTS_INTERPRETED if interpreted else TURN_ELEMENTS
    sizes = [{n: v if n in layer.options else size for n, v in first.items()} for size in (COARSE, 64, 32, 16, FINE)]
    fit: list[Dims] = [
        d for d in sizes if layer.possible(d) and layer.work(d) <= flops and most_elements(layer, d) <= most
    ]  # fmt: skip
    return [fit[-1], fit[0]] if len(fit) > 1 else fit


def many_rows(layer: Layer, rows: int, elements: int) -> Dims:
    """The first size of the gate with so many of its leading dim, or as many as take so many elements of the output."""
    first = layer.check[0]
    rest = math.prod(first[n] for n in layer.output if n != layer.leading)
    return {**first, layer.leading: max(1, min(rows, elements // rest))}


def turns(layer: Layer, dtypes: tuple[str, ...], working: str, interpreted: bool) -> Iterator[tuple[Dims, str, str]]:
    """Small and aligned sizes: (dims, dtype, a word for the setting).

    Small ones come in the working dtype, since a formula for few rows or steps chooses by size alone; aligned ones in
    every dtype, since paths for vectors and whole tiles choose by both. Where a call is slow, in one dtype after the
    other.
    """
    for dims in in_turn(layer, SMALL, interpreted):
        yield dims, working, "small"
    aligned = [*in_turn(layer, (FINE, COARSE), interpreted), *all_aligned(layer, interpreted)]
    for number, dims in enumerate(aligned):
        for dtype in (dtypes[number % len(dtypes)],) if interpreted else dtypes:
            yield dims, dtype, "aligned"
