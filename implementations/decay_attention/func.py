"""``torch.func``: the plain formula as a pure function, gradients returned as values by ``vjp``.

The same kernels as autograd's, so expect parity less the overhead of the transform, and the same memory. It earns its
place with per-sample gradients and ensembles (``vmap`` of ``grad``), which the tape cannot do in one call.
"""

import math

import torch
from torch import Tensor

from harness import Strategy, Style


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    T, D = q.shape[-2:]
    gaps = (t[..., :, None] - t[..., None, :]).clamp_min(0).unsqueeze(-3)  # [B, 1, T, T]
    decay = amplitude[:, None, None] * torch.log1p(rate[:, None, None] * gaps)
    logits = q @ k.mT / math.sqrt(D) - decay
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weights = logits.masked_fill(future, -math.inf).softmax(-1)
    return weights.to(v.dtype) @ v


strategy = Strategy(forward, gradients="func", simplicity=4, style=Style("#CC79A7", "v", ":"))
