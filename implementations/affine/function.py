"""``torch.autograd.Function`` with a backward written by hand.

Wins where the hand-written backward saves memory or passes over it that autograd cannot; an affine map leaves little
to save: x and W are kept, as autograd keeps them. The backward is made of differentiable ops, so that a second
derivative flows through it, and skips the gradients that nobody wants.
"""

from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style


class Affine(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.addmm(bias, x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            g @ weight.T if need_x else None,
            x.T @ g if need_weight else None,
            g.sum(0) if need_bias else None,
        )


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, weight, bias))
    if x.dim() == 2:
        result: Tensor = Affine.apply(x, weight, bias)
        return result
    rows: Tensor = Affine.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return rows.view(*x.shape[:-1], weight.shape[1])


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
