"""``torch.compile`` around ``triton``: the same kernels, the launches called from compiled code.

Inductor sees each launch as one op and fuses nothing into it. What it saves is the Python of the Functions and of what
stands between the launches, so it may win where a call is short and the kernels wait for their launches.
"""

import torch
from torch import Tensor

from harness import Strategy

from .triton import forward as by_kernels


@torch.compile(fullgraph=True, dynamic=False)
def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    return by_kernels(q, k, v, t, amplitude, rate)


strategy = Strategy(forward, devices=("cuda",), needs=("compiler", "triton"), simplicity=9, variant_of="triton")
