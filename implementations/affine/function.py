"""``torch.autograd.Function`` with a backward written by hand.

Wins where the hand-written backward saves memory or passes over it that autograd cannot; an affine map leaves little
to save: x and W are kept, as autograd keeps them. With GELU the pre-activation z is kept too, B·O elements where plain
autograd keeps 3·B·O, and Φ(z) + z φ(z) is found from it anew in one pass. The backward is made of differentiable ops,
so that a second derivative flows through it, and skips the gradients that nobody wants.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
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


class Gelu(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return F.gelu(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        delta: Tensor = torch.ops.aten.gelu_backward(g, z)  # g (Φ(z) + z φ(z)), differentiable
        return delta


# apply reads the signature anew at every call, unless it is kept here
for function in (Affine, Gelu):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, weight, bias))
    y: Tensor = Affine.apply(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]), weight, bias)
    if gelu:
        y = Gelu.apply(y)
    return y if x.dim() == 2 else y.view(*x.shape[:-1], weight.shape[1])


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
