"""``torch.func``: the plain formula as a pure function, gradients returned as values by ``vjp``.

The same kernels as autograd's, so expect parity less the overhead of the transform. It earns its place with
per-sample gradients and ensembles (``vmap`` of ``grad``), which the tape cannot do in one call.
"""

from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum()


strategy = Strategy(forward, gradients="func", simplicity=4, style=Style("#CC79A7", "v", ":"))
