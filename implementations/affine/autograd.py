"""Plain ops on the tape: the formula as it is written, differentiated by autograd.

The simplest to write and to read, and the reference of this layer. The sum with the bias is an op of its own.
"""

from torch import Tensor

from harness import Strategy, Style


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight + bias


strategy = Strategy(forward, simplicity=0, style=Style("#0072B2", "o", "-"))
