"""``torch.autograd.Function`` with a backward written by hand.

Autograd keeps x·r, as large as x, and makes a temporary of that size for each of its ops; a fresh one costs the CPU
more than the arithmetic on it. Here the row's r is kept, N numbers of float32 (4·N bytes; 8·N for float64) beside x and
w, forward makes no temporary of x's size but y, and backward none but dL/dx. The products g·x, which both gradients
need, are made for a block of rows at a time and stay in the cache; each block's share of dL/dw is added after, which
also keeps that sum sharp.

r is a returned output, so that a second derivative flows through it too: its cotangent joins Σ_d g w x, which is what
y sends it. Gradients that nobody wants are skipped. Under autocast y has x's dtype, as torch's own op has it: the
arithmetic is float32 already.
"""

from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS

BLOCK = {"cpu": 2**16, "cuda": 2**26}
"""Elements of g·x at a time: what the second-level cache holds; on a GPU launches cost more than memory."""


class RMSNorm(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        scale = (norm.square() / x.shape[-1] + EPS).rsqrt()  # [N, 1]
        return (scale * weight).mul_(x).to(x.dtype), scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, of_scale: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        w, rows = weight.to(scale.dtype), max(1, BLOCK.get(x.device.type, 2**16) // x.shape[-1])
        along, shares = [], []
        for of_y, some, r in zip(g.split(rows), x.split(rows), scale.split(rows), strict=True):
            product = of_y.to(scale.dtype) * some
            if need_x:
                along.append(product @ w)  # [rows]
            if need_weight:
                shares.append(r.squeeze(1) @ product)  # [D]
        of_x = None
        if need_x:
            of_scale = of_scale + torch.cat(along)[:, None]
            of_x = (x * (-of_scale * scale.square() / x.shape[-1])).addcmul_(g, w).mul_(scale).to(x.dtype)
        return of_x, torch.stack(shares).sum(0).to(weight.dtype) if need_weight else None


def forward(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = RMSNorm.apply(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]), weight)[0]
    return y if x.dim() == 2 else y.view(x.shape)


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
