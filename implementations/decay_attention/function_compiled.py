"""``torch.compile`` around ``function``: the backward written by hand, its passes fused by Inductor.

What the Function keeps for the backward stays its own choice; the compiler sees forward and backward as plain ops and
takes the Python between them away. Costs seconds before the first call.
"""

import torch
from torch import Tensor

from harness import Strategy

from .function import forward as by_hand


@torch.compile(fullgraph=True, dynamic=False)
def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    return by_hand(q, k, v, t, amplitude, rate)


strategy = Strategy(forward, needs=("compiler",), simplicity=7, variant_of="function")
