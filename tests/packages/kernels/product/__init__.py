"""y = x · w: a layer whose strategies are there for their kernels, which are compiled and never run."""

import torch

from harness import Cost, Example, Layer, Operand, Task


def _normal(shape, generator):
    return torch.randn(shape, generator=generator, device=generator.device)


def _examples():
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    return [Example({"x": x}, 2 * x)]


_SIZES = {"quick": ({"N": 64, "D": 32},), "default": ({"N": 64, "D": 32},), "full": ({"N": 64, "D": 32},)}

layer = Layer(
    title="product",
    formula="y = x · w",
    inputs={"x": Operand(("N", "D"), _normal)},
    parameters={"weight": Operand(("D",), _normal)},
    output=("N", "D"),
    check=({"N": 3, "D": 5},),
    sizes={"cpu": _SIZES, "cuda": _SIZES},
    cost=lambda passed, dims: Cost(dims["N"] * dims["D"], 3 * dims["N"] * dims["D"]),
    task=Task("double a number", "made up", {"N": 4, "D": 3}, _examples, torch.dist, 0.1, 20, 20.0, "zero", 0.5),
)
