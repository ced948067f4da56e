"""y = x · w, element by element: a layer whose strategies misbehave in every way that the harness must survive."""

import torch

from harness import Cost, Example, Layer, Operand, Task


def _normal(shape, generator):
    return torch.randn(shape, generator=generator, device=generator.device)


def _examples():
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    return [Example({"x": x}, 2 * x)]


_SIZES = {"quick": ({"N": 64, "D": 32},), "default": ({"N": 64, "D": 32},), "full": ({"N": 64, "D": 32},)}

layer = Layer(
    title="scale",
    formula="y = x · w",
    inputs={"x": Operand(("N", "D"), _normal)},
    parameters={"weight": Operand(("D",), _normal)},
    output=("N", "D"),
    check=({"N": 3, "D": 5}, {"N": 1, "D": 1}, {"N": 17, "D": 9}),
    sizes={"cpu": _SIZES, "cuda": _SIZES},
    cost=lambda passed, dims: Cost(dims["N"] * dims["D"], 3 * dims["N"] * dims["D"]),
    task=Task(
        title="double a number",
        source="made up",
        dims={"N": 4, "D": 3},
        examples=_examples,
        loss=lambda y, target: (y - target).square().sum(),
        learning_rate=0.1,
        steps=20,
        naive="zero",
        naive_loss=20.0,
        target_loss=0.5,
    ),
)
