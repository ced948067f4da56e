"""``torch.autograd.Function`` with a backward written by hand.

Autograd's backward of x·w makes two temporaries of x's size; the gradients are really a broadcast and a column sum,
and that is what is written here. The backward is made of differentiable ops, so that a second derivative flows
through it, and skips the gradients that nobody wants.
"""

from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style


class WeightedSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.mv(x, weight).sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        return (
            (g * weight).expand_as(x) if need_x else None,
            g * x.sum(0) if need_weight else None,
        )


def forward(x: Tensor, weight: Tensor) -> Tensor:
    result: Tensor = WeightedSum.apply(x, weight)
    return result


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
