"""``torch.autograd.Function`` with a backward written by hand: σ(a), silu(a) and h are computed again, not kept.

Autograd keeps five tensors of [B, H]. Here the products x W_gate and x W_up stay on the tape, which keeps x for them
anyway; what follows is one Function that keeps its inputs a and b alone: 2·B·H elements (8·B·H bytes in float32,
4·B·H in bfloat16). To compute h again costs an exponential and a few products for each element, little beside the
products of matrices. Wins what is held between the passes; in the backward itself as much is in flight as in
``library``'s.

The backward is made of differentiable ops on inputs alone, so that a second derivative flows through it, and skips the
gradients that nobody wants, with the products that only they need.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Strategy, Style


class GatedProduct(torch.autograd.Function):
    """(silu(a) · b) W_down [B, O] of a, b [B, H]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, down: Tensor) -> Tensor:
        return (F.silu(a) * b) @ down

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b, down = ctx.saved_tensors
        need_a, need_b, need_down = ctx.needs_input_grad
        of_a = of_b = of_down = None
        if need_down:  # h is gone before the rest is made
            of_down = (F.silu(a) * b).T @ g
        if need_a or need_b:
            slope = b * _slope_of_silu(a) if need_a else None
            of_h = g @ down.T
            of_b = of_h * F.silu(a) if need_b else None
            of_a = of_h * slope if slope is not None else None
        return of_a, of_b, of_down


# apply reads the signature anew at every call, unless it is kept here
vars(GatedProduct.forward)["__signature__"] = inspect.signature(GatedProduct.forward)


def _slope_of_silu(a: Tensor) -> Tensor:
    """σ(a) + silu(a) (1 − σ(a))."""
    sigmoid = torch.sigmoid(a)
    return torch.addcmul(sigmoid, sigmoid * a, 1 - sigmoid)


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, gate, up, down = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, gate, up, down))
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y: Tensor = GatedProduct.apply(rows @ gate, rows @ up, down)
    return y if x.dim() == 2 else y.view(*x.shape[:-1], down.shape[1])


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
