"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. Beside x and the weights the tape keeps a, σ(a),
silu(a), b and h: 5·B·H elements (20·B·H bytes in float32, 10·B·H in bfloat16).
"""

import torch
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    a = x @ gate
    return (a * torch.sigmoid(a) * (x @ up)) @ down


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
