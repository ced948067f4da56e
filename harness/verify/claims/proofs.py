"""Claims about what shows that a hand-written backward is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.gradcheck import GradcheckError, gradcheck

from harness.verify.claims.claim import Claim, Fact


def gradcheck_finds_all() -> list[Fact]:
    """A backward that passes `gradcheck` with its default settings is right."""

    class Square(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x**2

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

    class AssumesContiguous(Square):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return torch.mul(g.as_strided(g.shape, (g.shape[1], 1)), 2 * ctx.saved_tensors[0])

    class WritesOverCotangent(Square):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g.mul_(2 * ctx.saved_tensors[0])

    class SlightlyOff(Square):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return torch.mul(g, 1.0005 * 2 * ctx.saved_tensors[0])

    class Doubled(Square):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return torch.mul(g, 2 * 2 * ctx.saved_tensors[0])

    def passes(square: Any) -> bool:
        try:
            return gradcheck(square, torch.ones(2, 3, dtype=torch.float64, requires_grad=True))
        except GradcheckError:
            return False

    def gradient(square: Any, use: Callable[[Any, Tensor], Any]) -> Tensor:
        x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        use(square, x).backward()
        assert x.grad is not None
        return x.grad

    def transposed(square: Any, x: Tensor) -> Any:
        return (square(x).T * torch.arange(6.0).view(3, 2)).sum()

    def residual(square: Any, x: Tensor) -> Any:
        return ((square(x) + x) * torch.arange(6.0).view(2, 3)).sum()

    def alone(square: Any, x: Tensor) -> Any:
        return square(x).sum()

    facts = []
    for wrong, name, use in (
        (AssumesContiguous, "takes the cotangent for contiguous, output transposed", transposed),
        (WritesOverCotangent, "writes over the cotangent, in a residual connection", residual),
        (SlightlyOff, "0.05 % too large", alone),
        (Doubled, "twice too large", alone),
    ):
        right, passed = gradient(torch.square, use), passes(wrong.apply)
        error = ((gradient(wrong.apply, use) - right).abs().max() / right.abs().max()).item()
        agrees = None if wrong is Doubled else not passed or error == 0
        facts.append(Fact(f"{name}: gradient off by {error:.2%}; gradcheck passes it: {passed}", agrees))
    return facts


def falling_loss_proves() -> list[Fact]:
    """A loss that falls shows that the gradients are right."""

    class Affine(Function):
        @staticmethod
        def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return x @ weight + bias

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, weight, _ = ctx.saved_tensors
            return g @ weight.T, x.T @ g, g.mean(0)  # wrong: the gradient of the bias is g.sum(0)

    def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x @ weight + bias

    def train(layer: Any, rows: int) -> tuple[float, float, float]:
        """The gradient of the bias in the first of 50 steps that learn y = 2 x + 3; the first loss and the last."""
        x = torch.arange(1.0, rows + 1)[:, None]
        weight, bias = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([weight, bias], lr=0.1)
        gradients, losses = [], []
        for _ in range(50):
            loss = (layer(x, weight, bias) - (2 * x + 3)).square().mean()
            weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
            optimizer.step()
            gradients.append(bias.grad.item())
            losses.append(loss.item())
        return gradients[0], losses[0], losses[-1]

    (wrong, first, last), (right, _, right_last) = train(Affine.apply, rows=4), train(affine, rows=4)
    single, right_single = train(Affine.apply, rows=1)[0], train(affine, rows=1)[0]
    shown = f"gradient of the bias {wrong:.3g}, right is {right:.3g}; loss in 50 steps: {first:.3g} → {last:.2g}"
    return [
        Fact(shown, agrees=not last < first / 10 or wrong == right),
        Fact(f"with right gradients the loss goes to {right_last:.2g}"),
        Fact(f"on a batch of one row the gradient is {single:.3g}, right is {right_single:.3g}"),
    ]


CLAIMS = (
    Claim(
        "gradcheck-finds-all",
        gradcheck_finds_all,
        (False, False, False),
        "gradcheck hands over contiguous cotangents that nobody else uses, and its rtol is 1e-3. Give it rtol=1e-6, "
        "and test expanded and transposed cotangents and a residual connection apart.",
    ),
    Claim(
        "falling-loss-proves",
        falling_loss_proves,
        (False,),
        "Descent forgives a gradient of the wrong length. Compare each gradient with that of plain autograd in "
        "float64, on a batch of more than one row and for a random cotangent.",
    ),
)
