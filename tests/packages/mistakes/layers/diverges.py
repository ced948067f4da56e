"""A learning rate that is far too large."""

import torch

from harness import Example, Layer, Operand, Strategy, Task


def examples():
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    return [Example({"x": x}, 2 * x)]


layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
    task=Task(
        title="double a number",
        source="made up",
        dims={"N": 4, "D": 3},
        examples=examples,
        loss=lambda y, target: (y - target).square().sum(),
        learning_rate=1e9,
        steps=40,
        naive="zero",
        naive_loss=20.0,
        target_loss=0.5,
    ),
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
