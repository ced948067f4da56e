"""Limits that a strategy may declare: ``Strategy(limits=("double_backward",))``.

Each is something that a user asks for by name, beyond a forward and a backward on plain tensors: a further derivative,
a transform, a wrapper, a second walk along the graph, a shape of another kind. What plain training meets unasked
(values, strides of inputs and cotangents, frozen operands, updates, order, memory, global state) cannot be declared
away.
"""

from __future__ import annotations

from collections.abc import Iterable

LIMITS = (
    "double_backward", "third_order", "forward_ad", "func_grad", "per_sample", "through_vmap", "jacrev", "compile",
    "described", "autocast", "checkpoint", "copies", "walked_twice", "leading_dims", "empty", "data_parallel",
)  # fmt: skip
"""Checks that may be declared as limits."""

IMPLIED = {"double_backward": ("third_order",), "per_sample": ("through_vmap",), "compile": ("described",)}
"""Checks that rest on another: who does not offer the one does not offer the other."""


def declared(limits: Iterable[str]) -> frozenset[str]:
    """Declared limits with those that they imply."""
    return frozenset(each for name in limits for each in (name, *IMPLIED.get(name, ())))
