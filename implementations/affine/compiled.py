"""``torch.compile`` of the plain formula: autograd's maths, fused by Inductor.

The product stays the vendor's; what can be fused is the bias, GELU with its derivative, and the sum over the batch.
Costs seconds before the first call. ``fullgraph=True, dynamic=False``: a graph break is an error, and each shape has a
graph of its own (with the defaults, the ninth shape falls back to eager without a word).
"""

import math

import torch
from torch import Tensor

from harness import Strategy, Style


@torch.compile(fullgraph=True, dynamic=False)
def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    z = x @ weight + bias
    return z * (0.5 * (1 + torch.erf(z / math.sqrt(2)))) if gelu else z


strategy = Strategy(forward, needs=("compiler",), simplicity=2, style=Style("#009E73", "D", "-."))
