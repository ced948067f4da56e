"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. Every op keeps what its derivative needs: beside x
and w, x·r for the weight's gradient and the N values of r and of the mean before the root. In bfloat16 x is kept again
in float32.
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
