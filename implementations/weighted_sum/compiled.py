"""``torch.compile`` of y = (Σ_n x_n) · w, fused by Inductor.

Costs seconds before the first call. The rows are summed in blocks on purpose: Inductor adds them one after the other,
which over 2,048 rows loses 7 eps where eager's tree of sums loses less than 2, and the gate stands just above that; a
plain ``(x * w).sum()`` in one chain lost 12 eps on 1024 × 1024 elements, and the gate refused it.
``fullgraph=True, dynamic=False``: a graph break is an error, and each shape has a graph of its own (with the defaults,
the ninth shape falls back to eager without a word).
"""

import torch
from torch import Tensor

from harness import Strategy, Style

BLOCK = 64


def formula(x: Tensor, weight: Tensor) -> Tensor:
    x = x.flatten(0, -2)
    blocks = x.shape[0] // BLOCK
    whole, rest = x[: blocks * BLOCK], x[blocks * BLOCK :]
    columns = whole.unflatten(0, (blocks, BLOCK)).sum(1).sum(0) + rest.sum(0)
    y: Tensor = (columns * weight).sum()
    return y


@torch.compile(fullgraph=True, dynamic=False)
def forward(x: Tensor, weight: Tensor) -> Tensor:
    return formula(x, weight)


strategy = Strategy(forward, needs=("compiler",), simplicity=2, style=Style("#009E73", "D", "-."))
