"""Controls about gradients by hand: reductions, cotangents, saved tensors, first calls (faults 9 to 21)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.layers.spec import Strategy
from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import Count, by_hand, changed, dense_strides, forward, plain, right, slopes


def _contiguous_cotangent(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    return slopes(dense_strides(g), x, weight, y)


def _over_the_cotangent(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    z = g.mul_(1 - y * y)
    return z @ weight.mT, x.mT @ z, z.sum(0)


def _keep_a_copy(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.save_for_backward(*operands, output.clone())


def _over_its_own(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    found = right(ctx, g, x, weight, bias, y)
    y.data.mul_(0.5)
    return found


def _over_a_saved_input(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    found = slopes(g, x, weight, y)
    x.data.mul_(1 - 1e-3)
    return found


def _over_an_input(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    x.data[..., -1] += 1.0
    return y


def _weight_as_attribute(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.weight = operands[1]
    ctx.save_for_backward(operands[0], output)


def _with_the_attribute(ctx: Any, g: Tensor, x: Tensor, y: Tensor) -> Any:
    return slopes(g, x, ctx.weight, y)


def _detached(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    return slopes(g, x, weight.detach(), y)


class _Twice(torch.autograd.Function):
    """The identity, whose gradient has none of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor) -> Tensor:
        return t.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.detach()


def _twice(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    return dx, _Twice.apply(dw), db


def _no_zeros(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*operands, output)


def _right_at_first() -> Strategy:
    count = Count()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        count.calls += 1
        return dx, dw if count.calls == 1 else dw * 0.9, db

    return changed(change)


def _cached_by_shape() -> Strategy:
    answers: dict[Any, Tensor] = {}

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        return dx, dw, answers.setdefault((db.shape, z.shape, z.dtype), db.detach())

    return changed(change)


def _unreduced(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = right(ctx, g, x, weight, bias, y)
    return dx, dw, None if db is None else g * (1 - y * y)


CONTROLS = {
    "mean": Control(9, "bias gradient mean(0)", "values", changed(lambda dx, dw, db, z: (dx, dw, z.mean(0)))),
    "wrong_axis": Control(10, "bias gradient sum(1)", "values", changed(lambda dx, dw, db, z: (dx, dw, z.sum(1)))),
    "unreduced": Control(11, "bias gradient not summed", "backward_returns", by_hand(_unreduced)),
    "contiguous_cotangent": Control(
        12, "takes the cotangent for contiguous", "cotangents", by_hand(_contiguous_cotangent)
    ),
    "over_cotangent": Control(13, "writes over the cotangent", "untouched", by_hand(_over_the_cotangent)),
    "over_its_own": Control(14, "writes over what it saved", "walked_twice", by_hand(_over_its_own, keep=_keep_a_copy)),
    "over_saved": Control(14, "writes over a saved input", "untouched", by_hand(_over_a_saved_input)),
    "over_input": Control(15, "writes over an input", "untouched", plain(_over_an_input)),
    "attribute": Control(
        16, "weight kept as an attribute of ctx", "updated_between",
        by_hand(_with_the_attribute, keep=_weight_as_attribute),
    ),
    "detached_saved": Control(17, "a saved tensor detached", "double_backward", by_hand(_detached)),
    "twice": Control(0, "differentiable twice, not three times", "third_order", changed(_twice)),
    "no_zeros": Control(18, "undefined cotangents unhandled", "gradcheck", by_hand(keep=_no_zeros)),
    "uniform": Control(
        19, "upstream gradient taken for uniform", "values",
        by_hand(lambda ctx, g, x, w, b, y: slopes(g.mean().expand_as(g), x, w, y)),
    ),
    "half": Control(20, "half a gradient", "values", changed(lambda dx, dw, db, z: (dx, dw / 2, db))),
    "zero": Control(20, "a zero gradient", "values", changed(lambda dx, dw, db, z: (dx, dw, torch.zeros_like(db)))),
    "flipped": Control(20, "a flipped sign", "values", changed(lambda dx, dw, db, z: (-dx, dw, db))),
    "one_row": Control(
        20, "one row of a gradient off", "values",
        changed(lambda dx, dw, db, z: (dx, dw * (torch.arange(len(dw), device=dw.device) > 0)[:, None], db)),
    ),
    "first_only": Control(21, "right for the first call only", "values", _right_at_first()),
    "by_shape": Control(21, "cached by shape", "values", _cached_by_shape()),
}  # fmt: skip
