"""``torch.func``: the plain formula as a pure function, gradients returned as values by ``vjp``.

The same kernels as autograd's, so expect parity less the overhead of the transform, and as much kept: with GELU
3·B·O elements. It earns its place with per-sample gradients and ensembles (``vmap`` of ``grad``), which the tape cannot
do in one call.
"""

import math

import torch
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    z = x @ weight + bias
    return z * (0.5 * (1 + torch.erf(z / math.sqrt(2)))) if gelu else z


strategy = Strategy(forward, gradients="func", simplicity=4, style=Style("#CC79A7", "v", ":"))
