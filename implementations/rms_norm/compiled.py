"""``torch.compile`` of the plain formula, fused by Inductor.

Costs seconds before the first call. The weight stands once for each block of rows, on purpose: its gradient is then
summed within the blocks first. Inductor adds rows one after the other, and over 4,096 rows of the plain formula that
loses more than the gate allows. ``fullgraph=True, dynamic=False``: a graph break is an error, and each shape has a
graph of its own (with the defaults, the ninth shape falls back to eager without a word).
"""

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS

BLOCK = 64


@torch.compile(fullgraph=True, dynamic=False)
def forward(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normal = wide * (wide.square().mean(-1, keepdim=True) + EPS).rsqrt()
    return (normal * weight).to(x.dtype)


strategy = Strategy(forward, needs=("compiler",), simplicity=2, style=Style("#009E73", "D", "-."))
