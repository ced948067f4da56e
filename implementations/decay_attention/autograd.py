"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. Every step makes a tensor of [B, H, T, T], future
included, and several of them stay for the backward: memory grows with T².
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


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
