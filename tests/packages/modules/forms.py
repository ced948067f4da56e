"""y = x · w, by every kind of callable that can be a forward."""

import torch
from torch import Tensor

from harness import Layer, Operand, Strategy


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        return g * weight if need_x else None, (g * x).flatten(0, -2).sum(0) if need_weight else None


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_scale", mutates_args=())
def scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight


@scale.register_fake
def _(x, weight):
    return torch.empty_like(x * weight)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, g):
    x, weight = ctx.saved_tensors
    return g * weight, (g * x).flatten(0, -2).sum(0)


scale.register_autograd(_backward, setup_context=_keep)

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}),
    leading="N",
)
strategies = {
    "autograd": Strategy(lambda x, weight: x * weight),
    "applied": Strategy(Scale.apply),
    "operator": Strategy(scale),
}
