"""Claims about what else is done with a layer: compiling it, differentiating it forward.

The custom operator stays registered, under a name of its own, as those of any library do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from harness.verify.claims.claim import Claim, Fact


def compile_keeps_backward() -> list[Fact]:
    """`torch.compile` keeps the backward of an `autograd.Function`."""

    class Sine(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.sin()

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return 100 * g  # poisoned: cos(0) = 1

    def loss(x: Tensor) -> Any:
        return Sine.apply(x)

    x = torch.tensor(0.0, requires_grad=True)
    torch.compile(loss, backend="aot_eager", fullgraph=True)(x).backward()
    outside, gradient = f"{x.grad}", torch.func.grad(loss)
    eager = gradient(torch.tensor(0.0)).item()
    inside = f"{torch.compile(gradient, backend='aot_eager', fullgraph=True)(torch.tensor(0.0))}"
    return [
        Fact(f"torch.func.grad(loss), eager, with a backward that gives 100 and not 1: {eager}"),
        Fact(f"torch.compile(loss), then backward(): {outside}", agrees=outside == "100.0"),
        Fact(f"torch.compile(torch.func.grad(loss)): {inside}", agrees=inside == "100.0"),
    ]


def unsupported_raises() -> list[Fact]:
    """A way of differentiating that a custom operator does not support raises an error."""

    class Square(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x * x

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return torch.mul(g, 2 * ctx.saved_tensors[0])

    @torch.library.custom_op("layerbench_audit::square", mutates_args=())
    def square(x: Tensor) -> Tensor:
        return x * x

    square.register_autograd(Square.backward, setup_context=Square.setup_context)

    def tangent(operator: Any) -> str:
        try:
            return f"tangent {torch.func.jvp(operator, (torch.tensor(3.0),), (torch.tensor(1.0),))[1].item()}"
        except (NotImplementedError, RuntimeError) as error:
            return type(error).__name__

    x = torch.tensor(3.0, requires_grad=True)
    square(x).backward()
    by_function, by_op = tangent(Square.apply), tangent(square)
    return [
        Fact(f"a custom_op with `register_autograd`, backward: {x.grad}, right is 6.0"),
        Fact(f"a custom_op with `register_autograd`, forward mode: {by_op}, right is 6.0", by_op.endswith("Error")),
        Fact(f"an autograd.Function without `jvp`, forward mode: {by_function}", by_function.endswith("Error")),
    ]


CLAIMS = (
    Claim(
        "compile-keeps-backward",
        compile_keeps_backward,
        (True, False),
        "Compile the forward and call `backward()` outside. Where `torch.func.grad` itself is compiled, the custom "
        "backward is dropped and the forward is differentiated instead (pytorch/pytorch#193279).",
        compiles=True,
    ),
    Claim(
        "unsupported-raises",
        unsupported_raises,
        (False, True),
        "`register_autograd` serves the backward only; the forward-mode derivative is zero and nobody says so. Where "
        "it is wanted, call the operator inside an `autograd.Function`, with a `jvp` or a clean error.",
    ),
)
