"""Controls about parameters: not registered, cut off the tape, overwritten, or stale (faults 1 to 8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.layers.spec import Strategy
from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import Dense, by_hand, forward, plain, slopes


class _InAList(nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.all = [nn.Parameter(torch.zeros(I, O)), nn.Parameter(torch.zeros(O))]

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, *self.all)


class _PlainTensor(Dense):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__(B, I, O)
        del self.bias
        self.bias = torch.zeros(O)  # type: ignore[assignment]


class _DeadBackward(Dense):
    def backward(self, g: Tensor) -> None:
        self.weight.grad = 2 * g


def _assigned(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    weight.register_hook(
        lambda g: None if weight.grad is None else weight.grad.zero_() + g
    ) if weight.requires_grad else None
    return forward(x, weight, bias)


def _kept_by_hand(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.operands = operands
    ctx.save_for_backward(*operands, output)


def _accumulated_inside(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = slopes(g, x, weight, y)
    kept = ctx.operands[1]
    kept.grad = dw if kept.grad is None else kept.grad + dw
    return dx, None, db


_seen: dict[Any, Tensor] = {}


def _cached(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    old = _seen.setdefault(weight.data_ptr(), weight.detach().clone())
    return forward(x, weight + (old - weight).detach(), bias) if old.shape == weight.shape else forward(x, weight, bias)


CONTROLS = {
    "in_a_list": Control(1, "weights in a Python list", "values", Strategy(_InAList)),
    "plain_tensor": Control(2, "a plain tensor instead of nn.Parameter", "values", Strategy(_PlainTensor)),
    "detached": Control(3, "detach in the forward", "values", plain(lambda x, w, b: forward(x, w.detach(), b))),
    "data": Control(3, ".data in the forward", "values", plain(lambda x, w, b: forward(x, w, b.data))),
    "no_grad": Control(4, "no_grad around the forward", "values", plain(torch.no_grad()(forward))),
    "dead_backward": Control(5, "backward on an nn.Module", "dead_backward", Strategy(_DeadBackward)),
    "assigned": Control(6, ".grad assigned, not accumulated", "accumulation", plain(_assigned)),
    "inside": Control(
        7, "accumulated inside, None returned", "values", by_hand(_accumulated_inside, keep=_kept_by_hand)
    ),
    "cached": Control(8, "a copy of the weight kept from the first call", "updated", plain(_cached)),
}  # fmt: skip
