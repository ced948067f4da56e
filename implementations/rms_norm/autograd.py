"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. Beside x and w the tape keeps x·r for the weight's
gradient and the rows' r: 4·N·D + 4·N bytes in float32, 8·N·D + 8·N in float64; in bfloat16 8·N·D + 4·N, because a
copy of x in float32 is kept too.
"""

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS


def forward(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = (wide.square().mean(-1, keepdim=True) + EPS).rsqrt()
    return (wide * scale * weight).to(x.dtype)


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
