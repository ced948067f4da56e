"""PyTorch's own ops, ``torch.nn.functional.linear`` and ``silu``: the layer as the code of common models has it.

Three products of the vendor's, one op for silu with a fused backward in C++, and one for the product with b. ``linear``
stores its weight as [out, in]; ours go in as transposed views, without a copy. Beside x and the weights a, silu(a), b
and h are kept: 4·B·H elements (16·B·H bytes in float32).
"""

import torch.nn.functional as F
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate.T)) * F.linear(x, up.T), down.T)


strategy = Strategy(forward, simplicity=1, style=Style("#000000", "s", "-"))
