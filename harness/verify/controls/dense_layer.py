"""Controls on a dense layer with a bend: y = tanh(x W + b), dL/dz = g (1 − y²) with z = x W + b.

What the controls on it share: the truth, and ways to write a strategy that is right but for one thing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from harness.layers.spec import Cost, Layer, Operand, Strategy
from harness.layers.task import Example, Task
from harness.verify.controls.control import function, normal


def _examples() -> list[Example]:
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)
    return [Example({"x": x}, torch.tanh(0.5 * x.sum(1, keepdim=True)) + 0.1 * torch.cos(9 * x[:, :1]))]


layer = Layer(
    title="dense layer with a bend",
    formula="y = tanh(x W + b)",
    inputs={"x": Operand(("B", "I"), normal)},
    parameters={
        "weight": Operand(("I", "O"), lambda s, g: normal(s, g) / math.sqrt(s[0])),
        "bias": Operand(("O",), normal),
    },
    output=("B", "O"),
    check=({"B": 7, "I": 13, "O": 5}, {"B": 1, "I": 1, "O": 1}, {"B": 65, "I": 33, "O": 17}),
    sizes={device: {"quick": ({"B": 48, "I": 40, "O": 24},)} for device in ("cpu", "cuda")},
    cost=lambda passed, dims: Cost(1, 1),
    task=Task(
        title="a bend",
        source="made up: the controls are about the gate, not about data",
        dims={"B": 12, "I": 2, "O": 1},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=0.2,
        steps=40,
        naive="zero",
        naive_loss=0.5,
        target_loss=0.3,
    ),
    leading="B",
)


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The truth."""
    return torch.tanh(x @ weight + bias)


def slopes(g: Tensor, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The true gradients; any leading dims."""
    z = g * (1 - y * y)
    flat = z.flatten(0, -2)
    return z @ weight.mT, x.flatten(0, -2).mT @ flat, flat.sum(0)


reference = Strategy(forward)


def right(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    found = slopes(g, x, weight, y)
    return tuple(s if need else None for s, need in zip(found, ctx.needs_input_grad, strict=True))


def by_hand(backward: Any = right, run: Any = forward, keep: Any = None, **more: Any) -> Strategy:
    call = function(run, backward, keep, **more)
    return Strategy(lambda x, weight, bias: call(x, weight, bias))


def changed(change: Any) -> Strategy:
    """The right gradients, changed: ``change(dx, dw, db, z)`` gives the three that are returned."""

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        return change(*slopes(g, x, weight, y), g * (1 - y * y))

    return by_hand(backward)


def plain(run: Any) -> Strategy:
    return Strategy(lambda x, weight, bias: run(x, weight, bias))


class Dense(nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(I, O))
        self.bias = nn.Parameter(torch.zeros(O))

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, self.weight, self.bias)


def dense_strides(t: Tensor) -> Tensor:
    """What a kernel sees that takes a tensor for contiguous."""
    return t.as_strided(t.shape, torch.empty(t.shape, device="meta").stride())


class Count:
    def __init__(self) -> None:
        self.calls = 0
