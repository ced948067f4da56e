"""Claims about a backward of one's own: what it saves, and its second derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.verify.claims.claim import Claim, Fact


def changed_weight_is_noticed() -> list[Fact]:
    """Autograd notices when a weight is changed between forward and backward."""

    class Saves(Function):
        @staticmethod
        def forward(x: Tensor, weight: Tensor) -> Tensor:
            return x * weight

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(inputs[1])

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
            return g * ctx.saved_tensors[0], None

    class Keeps(Saves):
        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.weight = inputs[1]

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
            return g * ctx.weight, None

    def in_place(weight: Tensor) -> None:
        with torch.no_grad():
            weight.fill_(100.0)

    def through_data(weight: Tensor) -> None:
        weight.data.fill_(100.0)

    def gradient(multiply: Any, change: Callable[[Tensor], None]) -> str:
        x, weight = torch.tensor(4.0, requires_grad=True), nn.Parameter(torch.tensor(3.0))
        y = multiply(x, weight)
        change(weight)
        try:
            y.backward()
        except RuntimeError as error:
            return f"{type(error).__name__}"
        return f"gradient of x {x.grad}, right is 3.0"

    facts = []
    for name, multiply, change in (
        ("plain autograd", torch.mul, in_place),
        ("a Function with `save_for_backward`", Saves.apply, in_place),
        ("a Function with `ctx.weight = weight`", Keeps.apply, in_place),
        ("`save_for_backward`, changed through `.data`", Saves.apply, through_data),
    ):
        answer = gradient(multiply, change)
        facts.append(Fact(f"{name}: {answer}", agrees=answer == "RuntimeError"))
    return facts


def once_differentiable_is_loud() -> list[Fact]:
    """A backward marked `once_differentiable` raises when a second derivative is asked for."""

    class Cube(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x**3

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return torch.mul(g, 3 * x**2)

    def penalty_gradient(cube: Any, outer: Callable[[Tensor], Tensor]) -> str:
        """d/dw of (dy/dx)², the term of a gradient penalty, for y = outer(cube(w · x)) at w = 1, x = 2."""
        weight, x = nn.Parameter(torch.tensor(1.0)), torch.tensor(2.0, requires_grad=True)
        (slope,) = torch.autograd.grad(outer(cube(weight * x)), x, create_graph=True)
        try:
            slope.square().backward()
        except RuntimeError as error:
            return f"{error}"
        return f"{weight.grad}"

    def cubed(x: Tensor) -> Tensor:
        return x**3

    squared, plain = penalty_gradient(Cube.apply, torch.square), penalty_gradient(Cube.apply, torch.clone)
    right = penalty_gradient(cubed, torch.clone)
    return [
        Fact(f"gradient of the penalty, (cube)²: {squared}", agrees="once_differentiable" in squared),
        Fact(f"gradient of the penalty, cube alone: {plain}, right is {right}", agrees="once_differentiable" in plain),
    ]


CLAIMS = (
    Claim(
        "changed-weight-is-noticed",
        changed_weight_is_noticed,
        (True, True, False, False),
        "Save tensors with `save_for_backward`, never as attributes of `ctx`, and change weights under `no_grad`, "
        "never through `.data`: then the version counter sees the change.",
    ),
    Claim(
        "once-differentiable-is-loud",
        once_differentiable_is_loud,
        (True, False),
        "It raises only where the cotangent itself needs a gradient; a cotangent of ones does not, and the second "
        "derivative is lost in silence. Write the backward with differentiable operations, or let it call a second "
        "Function whose own backward raises.",
    ),
)
