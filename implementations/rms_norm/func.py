"""``torch.func``: the plain formula as a pure function, gradients returned as values by ``vjp``.

The same kernels as autograd's, and the same tensors kept (4·N·D + 4·N bytes in float32), so expect parity less the
overhead of the transform. It earns its place with
per-sample gradients and ensembles (``vmap`` of ``grad``), which the tape cannot do in one call.
"""

import torch
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS


def forward(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = (wide.square().mean(-1, keepdim=True) + EPS).rsqrt()
    return (wide * scale * weight).to(x.dtype)


strategy = Strategy(forward, gradients="func", simplicity=4, style=Style("#CC79A7", "v", ":"))
