"""``torch.autograd.Function`` with a backward written by hand.

Autograd keeps x, and its backward makes two temporaries of x's size and reads x again. By hand it is seen that
y = s · w with the column sums s = Σ_n x_n, so that dL/dw = g · s: s is kept instead of x, D numbers instead of N·D, and
the backward only writes dL/dx. s is a returned output, so that a second derivative flows through it too. Gradients that
nobody wants are skipped.
"""

import inspect
from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style


class WeightedSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        columns = x.sum(0)
        wide = torch.promote_types(x.dtype, torch.float32)
        # not torch.dot: BLAS adds one after the other, and for D = 4,097 to 1,048,577 strays 3 to 15 times as far
        y = (columns.to(wide) * weight.to(wide)).sum()
        # compiled by torch 2.11, an output that is an alias gets no gradient
        return y if y.dtype == x.dtype else y.to(x.dtype), columns

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        x, weight = inputs
        ctx.save_for_backward(weight, output[1])
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: Any, g: Tensor, of_columns: Tensor) -> tuple[Tensor | None, ...]:
        weight, columns = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        return (
            (g * weight + of_columns).expand(ctx.shape) if need_x else None,
            g * columns if need_weight else None,
        )


# apply reads the signature anew at every call, unless it is kept here
vars(WeightedSum.forward)["__signature__"] = inspect.signature(WeightedSum.forward)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = WeightedSum.apply(x if x.dim() == 2 else x.flatten(0, -2), weight)[0]
    return y


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
