"""PyTorch's own ops, ``torch.nn.functional.linear`` and ``gelu``: what a user would take off the shelf.

One fused call (addmm) with a backward written in C++. It stores the weight as [O, I]; our W goes in as a transposed
view, without a copy. Wins nearly always: the product is the vendor's, and there is nothing left to fuse. GELU is one
more pass over z each way, which keeps z: B·O elements.
"""

import torch.nn.functional as F
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    z = F.linear(x, weight.T, bias)
    return F.gelu(z) if gelu else z


strategy = Strategy(forward, simplicity=1, style=Style("#000000", "s", "-"))
