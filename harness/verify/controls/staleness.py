"""Controls about answers that are kept (fault 49)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

from harness.layers.spec import Strategy
from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import by_hand, forward, right

FEW = 16


def kept(compute: Callable[..., Any], key_of: Callable[..., Hashable]) -> Callable[..., Any]:
    """A function of tensors whose last result is given again where the operands have the same key."""
    last: dict[Hashable, Any] = {}

    def run(*operands: Tensor) -> Any:
        key = key_of(*operands)
        if key not in last:
            last.clear()
            last[key] = compute(*operands)
        return last[key]

    return run


def _place(*operands: Tensor) -> Hashable:
    return tuple((t.data_ptr(), t._version, t.shape, t.stride(), t.dtype) for t in operands)


def _some_elements(*operands: Tensor) -> Hashable:
    """The last and evenly spaced elements of each operand, as numbers."""
    flat = [t.detach().flatten() for t in operands]
    return tuple((t.shape, t.dtype, *t[:: 1 + len(t) // FEW].tolist(), *t[-1:].tolist()) for t in flat)


def _copied(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, weight, bias: run(x, weight, bias).clone()


def _backward_kept() -> Strategy:
    """Gradients are kept by the addresses and versions of the cotangent and of what was saved."""
    last: dict[Hashable, Any] = {}

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        key = (_place(g, x, weight), ctx.needs_input_grad)
        if key not in last:
            last.clear()
            last[key] = right(ctx, g, x, weight, bias, y)
        return tuple(t if t is None else t.clone() for t in last[key])

    return by_hand(backward)


CONTROLS = {
    "kept_by_version": Control(
        49, "kept by address and version", "stale", by_hand(run=_copied(kept(forward, _place)))
    ),
    "kept_by_some": Control(
        49, "kept by some of the elements", "stale", by_hand(run=_copied(kept(forward, _some_elements)))
    ),
    "kept_backward": Control(49, "gradients kept by address and version", "stale", _backward_kept()),
}  # fmt: skip
