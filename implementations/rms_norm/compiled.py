"""``torch.compile`` of the plain formula, fused by Inductor.

Costs seconds before the first call. Forward and backward become loops that read x once or twice and write once; only
r is kept beside x and w (4·N bytes, in float64 8·N). It wins wherever a process lives long enough.

The weight is repeated for blocks of rows, in two steps on purpose, so that its
gradient is summed within the blocks and then over them: Inductor adds rows one after the other, and over 4,096 rows
the plain formula loses 10 eps that way, where eager's tree of sums loses 1 and the gate allows 8. No row of the weight
is really copied. ``fullgraph=True, dynamic=False``: a graph break is an error, and each shape has a graph of its own
(with the defaults, the ninth shape falls back to eager without a word).
"""

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS

BLOCK = 64


def formula(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normal = (wide * (wide.square().mean(-1, keepdim=True) + EPS).rsqrt()).flatten(0, -2)
    N, D = normal.shape
    blocks = weight.expand(-(-N // BLOCK), 1, D)
    rows = blocks.expand(-1, BLOCK, -1).reshape(-1, D)[:N]
    return (normal * rows).to(x.dtype).view(x.shape)


@torch.compile(fullgraph=True, dynamic=False)
def forward(x: Tensor, weight: Tensor) -> Tensor:
    return formula(x, weight)


strategy = Strategy(forward, needs=("compiler",), simplicity=2, style=Style("#009E73", "D", "-."))
