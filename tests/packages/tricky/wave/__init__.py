"""y = sin(x) · w, element by element: a layer whose strategies try to deceive whoever checks them."""

import torch

from harness import Cost, Example, Layer, Operand, Task


def _normal(shape, generator):
    return torch.randn(shape, generator=generator, device=generator.device)


def _examples():
    x = torch.linspace(-2, 2, 20, dtype=torch.float64).view(10, 2)
    return [Example({"x": x}, 1.5 * torch.sin(x) + 0.05 * torch.cos(7 * x))]


_SIZES = {name: ({"N": 64, "D": 32},) for name in ("quick", "default", "full")}

layer = Layer(
    title="wave",
    formula="y = sin(x) · w",
    inputs={"x": Operand(("N", "D"), _normal)},
    parameters={"weight": Operand(("D",), _normal)},
    output=("N", "D"),
    check=({"N": 5, "D": 7}, {"N": 1, "D": 1}, {"N": 19, "D": 9}),
    sizes={"cpu": _SIZES, "cuda": _SIZES},
    cost=lambda passed, dims: Cost(dims["N"] * dims["D"], 3 * dims["N"] * dims["D"]),
    task=Task(
        title="a wave",
        source="made up",
        dims={"N": 10, "D": 2},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=0.3,
        steps=20,
        naive="zero",
        naive_loss=1.2,
        target_loss=0.6,
    ),
    leading="N",
)
