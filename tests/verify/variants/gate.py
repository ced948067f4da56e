"""A gate with a learned slope: y = x · s, s = σ(a x + b), element by element; a, b [D].

dz = g · x · s (1 − s)        dx = g · s + dz · a        da = Σ_n dz · x        db = Σ_n dz
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from harness import Cost, Example, Layer, Operand, Strategy, Task


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _examples() -> list[Example]:
    x = torch.linspace(-3, 3, 40, dtype=torch.float64).view(20, 2)
    return [Example({"x": x}, x * torch.sigmoid(1.7 * x - 0.4) + 0.05 * torch.sin(5 * x))]


layer = Layer(
    title="gate with a learned slope",
    formula="y = x σ(a x + b)",
    inputs={"x": Operand(("N", "D"), normal)},
    parameters={"slope": Operand(("D",), normal), "shift": Operand(("D",), normal)},
    output=("N", "D"),
    check=({"N": 6, "D": 11}, {"N": 1, "D": 1}, {"N": 35, "D": 18}),
    sizes={"cpu": {"quick": ({"N": 24, "D": 56},)}},
    cost=lambda passed, dims: Cost(1, 1),
    task=Task(
        title="a bend",
        source="made up",
        dims={"N": 20, "D": 2},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=2.0,
        steps=40,
        naive="zero",
        naive_loss=1.45,
        target_loss=0.1,
    ),
    leading="N",
)


def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    return x * torch.sigmoid(x * slope + shift)


reference = Strategy(forward)


def over_rows(t: Tensor) -> Tensor:
    return t.flatten(0, -2).sum(0)


def slopes(g: Tensor, x: Tensor, slope: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dz · x, dz), the last two before they are summed."""
    s = torch.sigmoid(x * slope + shift)
    dz = g * x * s * (1 - s)
    return g * s + dz * slope, dz * x, dz


def wanted(ctx: Any, *found: Tensor) -> tuple[Tensor | None, ...]:
    return tuple(d if need else None for d, need in zip(found, ctx.needs_input_grad, strict=True))


class Gate(torch.autograd.Function):
    """Right; each fault changes one thing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        return forward(x, slope, shift)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        need_x, need_slope, need_shift = ctx.needs_input_grad
        s = torch.sigmoid(x * slope + shift)
        dz = g * x * s * (1 - s)
        return (
            g * s + dz * slope if need_x else None,
            over_rows(dz * x) if need_slope else None,
            over_rows(dz) if need_shift else None,
        )


def by_hand(kind: Any, **claims: Any) -> Strategy:
    return Strategy(lambda x, slope, shift: kind.apply(x, slope, shift), **claims)


def plain(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Strategy:
    return Strategy(lambda x, slope, shift: function(x, slope, shift))


def with_slopes(change: Callable[..., Any], **claims: Any) -> Strategy:
    """A backward that changes the right gradients: ``change(dx, da, db)``, the last two before they are summed."""

    class Changed(Gate):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return wanted(ctx, *change(*slopes(g, *ctx.saved_tensors)))

    return by_hand(Changed, **claims)
