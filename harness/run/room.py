"""Which groups have room in a device's memory, by the operands that a launch holds at the same time."""

from __future__ import annotations

import math

from harness.records.dims import dims_of
from harness.records.schema import Group, LayerFacts

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
IN_USE = 2
"""Output and gradients of the arm that runs, about as many numbers as there are operands, and as many again."""


def bytes_of(layer: LayerFacts, group: Group, arms: int) -> int:
    """Of one launch: each arm has operands of its own; in the end the judge has a reference and a float64 oracle.

    What strategies make beside that is theirs to know, and ends as their status ``oom``. Operands whose shape is a
    function of the dims are not counted.
    """
    dims = dims_of(group.dims)
    numbers = sum(math.prod(dims[name] for name in shape) for shape in layer.shapes)
    size = BYTES[group.dtype]
    return numbers * (size * (arms + IN_USE) + (size + BYTES["float64"]) * IN_USE)


def no_room(layer: LayerFacts, group: Group, strategies: int, memory: int) -> str:
    """Why a group is not measured, with the estimate; empty where it fits, or where the memory is not known.

    Args:
        strategies: that are timed in it; the baseline is so twice.
        memory: of the device, in bytes; 0 where it is not known.
    """
    needed = bytes_of(layer, group, strategies + 1)
    if not memory or needed <= memory:
        return ""
    return f"takes about {needed / 1e9:.3g} GB for {strategies} strategies, and there are {memory / 1e9:.3g} GB"
