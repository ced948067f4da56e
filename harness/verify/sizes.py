"""Sizes at which the gate asks a layer's strategies, beside those that the layer states."""

from __future__ import annotations

import math

from harness.layers.spec import Dims, Layer

LONG, LONG_INTERPRETED = 2**16 + 1, 2**12 + 1
MANY, WHOLE, SEVERAL = 577, 512, 97
"""Sizes that take many tiles, many without a rest, and several: enough for kernels that deal out tiles of 64 in groups
of 8. A dim of LONG_INTERPRETED takes more than any block holds."""
MANY_FLOPS, MANY_ELEMENTS = 10**8, 2**15
"""Work at most, and where one dim alone is large, elements of an operand: the interpreter is slow."""
FEW_ROWS = 3


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
