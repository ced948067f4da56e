"""``torch.compile`` of the plain formula: autograd's maths, fused by Inductor.

The products stay the vendor's; what lies between them becomes one pass over [B, H] forward and one backward. Costs
seconds before the first call. ``fullgraph=True, dynamic=False``: a graph break is an error, and each shape has a graph
of its own (with the defaults, the ninth shape falls back to eager without a word).
"""

import torch
from torch import Tensor

from harness import Strategy, Style


@torch.compile(fullgraph=True, dynamic=False)
def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    a = x @ gate
    return (a * torch.sigmoid(a) * (x @ up)) @ down


strategy = Strategy(forward, needs=("compiler",), simplicity=2, style=Style("#009E73", "D", "-."))
