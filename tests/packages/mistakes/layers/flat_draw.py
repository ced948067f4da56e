"""Its draw gives another shape."""

import torch

from harness import Layer, Operand, Strategy

layer = Layer(
    inputs={"x": Operand(("N", "D"), lambda shape, generator: torch.randn(shape[0], generator=generator))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
