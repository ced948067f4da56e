"""PyTorch's own op, ``torch.nn.functional.scaled_dot_product_attention``: what a user would take off the shelf.

The decay goes in as a float mask that requires a gradient, future and all, so a tensor of [B, H, T, T] is made before
the op begins; and with such a mask PyTorch takes its plain path, which makes more of them: memory grows with T².
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Strategy, Style


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    T = t.shape[-1]
    gaps = (t[..., :, None] - t[..., None, :]).clamp_min(0).unsqueeze(-3)  # [B, 1, T, T]
    decay = amplitude[:, None, None] * torch.log1p(rate[:, None, None] * gaps)
    future = torch.ones(T, T, dtype=torch.bool, device=t.device).triu(1)
    bias = (-decay).masked_fill(future, -math.inf)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    return y if y.numel() else y + bias.sum()  # of an empty batch PyTorch leaves the mask off the tape


strategy = Strategy(forward, simplicity=1, style=Style("#000000", "s", "-"))
