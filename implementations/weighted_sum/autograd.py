"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. The product is stored: a temporary of x's size
forward, and two of them backward.
"""

from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum()


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
