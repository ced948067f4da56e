"""Its input is drawn from the global generator."""

import torch

from harness import Layer, Operand, Strategy

layer = Layer(
    inputs={"x": Operand(("N", "D"), lambda shape, generator: torch.randn(shape))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
