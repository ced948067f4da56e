"""``torch.func``: the plain formula as a pure function, gradients returned as values by ``vjp``.

The same kernels as autograd's, and the same tensors kept (5·B·H elements), so expect parity less the overhead of the
transform. It earns its place with per-sample gradients and ensembles (``vmap`` of ``grad``), which the tape cannot do
in one call.
"""

import torch
from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    a = x @ gate
    return (a * torch.sigmoid(a) * (x @ up)) @ down


strategy = Strategy(forward, gradients="func", simplicity=4, style=Style("#CC79A7", "v", ":"))
