"""PyTorch's own op, ``torch.nn.functional.rms_norm``: what a user would take off the shelf.

On CUDA one fused kernel for each pass. On the CPU it is a chain of eager ops, differentiated by autograd: four passes
over memory forward, and x·r is kept beside x and w.
"""

import torch.nn.functional as F
from torch import Tensor

from harness import Strategy, Style
from implementations.rms_norm import EPS


def forward(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, EPS)


strategy = Strategy(forward, simplicity=1, style=Style("#000000", "s", "-"))
