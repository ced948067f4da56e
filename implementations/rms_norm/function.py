"""``torch.autograd.Function`` with a backward written by hand.

Autograd keeps x·r and r, and makes a temporary of x's size for each op; a fresh one costs the CPU more than the
arithmetic on it. Here r is kept beside x and w, a number for each row (4·N bytes, in float64 8·N), and in float32 no
fresh memory of x's size is touched but y and dL/dx. The products g·x·r that both gradients need are made for a block
of rows at a time and stay in the cache; each block's share of dL/dw is added after. It wins where rows are many; below
some 10⁴ elements, what a Function costs in Python outweighs what it saves.

r is a returned output, so that a second derivative flows through it too: its cotangent joins what y sends it,
Σ_d g w x. Gradients that nobody wants are skipped. Under autocast y has x's dtype, as torch's own op has it: the
arithmetic is float32 already.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS

BLOCK = {"cpu": 2**17, "cuda": 2**26}
"""Elements at a time: half a second-level cache of them; on a GPU, launches cost more than memory."""


def _blocks(t: Tensor) -> Iterator[Tensor]:
    """Views of t [N, ...], a block of rows each; one of no rows where there are none."""
    rows = max(1, BLOCK.get(t.device.type, 2**17) // t.shape[-1])
    return (t[first : first + rows] for first in range(0, max(1, t.shape[0]), rows))


class RMSNorm(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = (norm.square() / x.shape[-1] + EPS).rsqrt()  # [N, 1]
        y = scale * weight
        # the compiler fuses them; and by torch 2.11's, an output written in place or an alias gets no gradient
        y = y * x if torch.compiler.is_compiling() else y.mul_(x)
        return y if y.dtype == x.dtype else y.to(x.dtype), scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, of_scale: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        w, along, shares = weight.to(scale.dtype), [], []
        for of_y, some, r in zip(_blocks(g), _blocks(x), _blocks(scale.expand_as(x)), strict=True):
            product = (of_y.to(scale.dtype) * some).mul_(r)
            if need_x:
                along.append(product @ w)  # [rows]
            if need_weight:
                shares.append(product.sum(0))  # [D]
        of_x = None
        if need_x:
            slope = of_scale * scale + torch.cat(along)[:, None]
            of_x = x * (-slope * scale / x.shape[-1])
            for some, of_y in zip(_blocks(of_x), _blocks(g), strict=True):
                some += of_y * w
            of_x = of_x.mul_(scale).to(x.dtype)
        return of_x, torch.stack(shares).sum(0).to(weight.dtype) if need_weight else None


# apply reads the signature anew at every call, unless it is kept here
vars(RMSNorm.forward)["__signature__"] = inspect.signature(RMSNorm.forward)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = RMSNorm.apply(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]), weight)[0]
    return y if x.dim() == 2 else y.view(x.shape)


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
