"""Claims about ``.grad``: how it is filled, and by what."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from harness.verify.claims.claim import Claim, Fact


def grad_starts_afresh() -> list[Fact]:
    """Each `backward()` replaces what is in `.grad`."""
    weight = nn.Parameter(torch.tensor(3.0))
    (4 * weight).backward()
    once = f"{weight.grad}"
    (4 * weight).backward()
    twice = f"{weight.grad}"
    torch.optim.SGD([weight]).zero_grad()
    return [
        Fact(f".grad after one backward: {once}, after two: {twice}", agrees=twice == once),
        Fact(f"after zero_grad(): {weight.grad}"),
    ]


def assigning_is_returning() -> list[Fact]:
    """In a Function's `backward`, assigning `weight.grad` is as good as returning the gradient."""

    class Assigns(Function):
        @staticmethod
        def forward(x: Tensor, weight: Tensor) -> Tensor:
            return x * weight

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
            x, weight = ctx.saved_tensors
            weight.grad = g * x
            return g * weight, None

    received: list[Tensor | None] = []
    x, weight = torch.tensor(4.0), nn.Parameter(torch.tensor(3.0))
    weight.register_hook(received.append)
    Assigns.apply(x, weight).backward()
    once = f"{weight.grad}"
    Assigns.apply(x, weight).backward()
    twice = f"{weight.grad}"
    (asked,) = torch.autograd.grad(Assigns.apply(x, weight), weight, allow_unused=True)
    return [
        Fact(f".grad after one backward: {once}, right is 4.0"),
        Fact(f".grad after two: {twice}, right is 8.0", agrees=twice == "8.0"),
        Fact(f"a hook on the weight receives {received[0]}, right is 4.0", agrees=received[0] is not None),
        Fact(f"torch.autograd.grad: {asked}, right is 4.0", agrees=asked is not None),
    ]


def graph_lasts() -> list[Fact]:
    """A graph can be walked backward twice."""

    def twice(loss: Tensor, weight: Tensor, **options: bool) -> str:
        try:
            loss.backward(**options)
            loss.backward(**options)
        except RuntimeError as raised:
            return f"{raised}".partition(" (")[0]
        return f".grad {weight.grad}"

    a, b, c = (nn.Parameter(torch.tensor(3.0)) for _ in range(3))
    plain, retained, linear = twice(a * a, a), twice(b * b, b, retain_graph=True), twice(c + 1, c)
    return [
        Fact(f"weight²: {plain}", agrees=plain == ".grad 12.0"),
        Fact(f"weight², retain_graph=True: {retained}, right is 2 · 6", agrees=retained == ".grad 12.0"),
        Fact(f"weight + 1, which saves nothing: {linear}, right is 2 · 1", agrees=linear == ".grad 2.0"),
    ]


def func_fills_grad() -> list[Fact]:
    """Gradients taken with `torch.func` arrive in `.grad` and pass the hooks, as those of `backward()` do."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(3.0))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    hooked: list[Tensor] = []
    layer = Scale()
    layer.weight.register_hook(hooked.append)
    x, parameters = torch.tensor(4.0), dict(layer.named_parameters())
    gradients = torch.func.grad(lambda p: torch.func.functional_call(layer, p, (x,)))(parameters)
    grad, fired = layer.weight.grad, len(hooked)
    layer(x).backward()
    return [
        Fact(f".grad after torch.func.grad: {grad}", agrees=grad is not None),
        Fact(f"hooks fired by torch.func.grad: {fired}, by backward(): {len(hooked) - fired}", agrees=fired > 0),
        Fact(f"the gradient that it returned: {gradients['weight'].item()}, that of backward(): {layer.weight.grad}"),
    ]


CLAIMS = (
    Claim(
        "grad-starts-afresh",
        grad_starts_afresh,
        (False,),
        "`backward()` adds. Call `zero_grad()` once for each step; leave it out between micro-batches, whose sum is "
        "wanted.",
    ),
    Claim(
        "assigning-is-returning",
        assigning_is_returning,
        (False, False, False),
        "It looks right after one backward only. Return the gradient: autograd hands it to the hooks, adds it to "
        "`.grad`, and serves `torch.autograd.grad`.",
    ),
    Claim(
        "graph-lasts",
        graph_lasts,
        (False, True, True),
        "A backward frees the tensors that the forward saved. Run the forward again for each step; `retain_graph=True` "
        "is for several losses over one graph, and costs their memory.",
    ),
    Claim(
        "func-fills-grad",
        func_fills_grad,
        (False, False),
        "`torch.func` returns gradients and touches nothing. Update the parameters from what it returns, or copy it to "
        "`.grad` before `optimizer.step()`.",
    ),
)
