"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. The sum with the bias is an op of its own, and so is
each step of GELU: with it the tape keeps z, z/√2 and Φ(z), 3·B·O elements.
"""

import math

import torch
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    z = x @ weight + bias
    return z * (0.5 * (1 + torch.erf(z / math.sqrt(2)))) if gelu else z


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
