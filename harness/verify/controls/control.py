"""A control, and the plain form in which most are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from harness.layers.spec import Strategy


@dataclass(frozen=True)
class Control:
    """A strategy with a planted fault.

    Attributes:
        fault: its number in the list of known faults; 0 for one that is not on it.
        what: the fault in a few words.
        check: the name of the check that must catch it.
        dtype: the only dtype in which it is wrong, if it is one.
        dear: whether it takes two processes, so that it runs in ``verify --full`` and the tests only.
        cuda: whether it can show on a GPU only.
        interpreted: whether it can show in Triton's interpreter only, which knows every address that is touched.
        result: the word that the check must have for it.
    """

    fault: int
    what: str
    check: str
    strategy: Strategy
    dtype: str = ""
    dear: bool = False
    cuda: bool = False
    interpreted: bool = False
    result: Literal["wrong", "limited", "wasteful"] = "wrong"


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Unit normal."""
    return torch.randn(shape, generator=generator, device=generator.device)


def function(
    forward: Callable[..., Tensor], backward: Callable[..., Any], keep: Callable[..., None] | None = None, **more: Any
) -> Callable[..., Tensor]:
    """An ``autograd.Function`` as a function.

    Args:
        forward: of the operands.
        backward: ``backward(ctx, g, *saved)``.
        keep: ``keep(ctx, operands, output)`` instead of saving operands and output.
        more: further attributes of the class.
    """

    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if keep is None:
            ctx.save_for_backward(*inputs, output)
        else:
            keep(ctx, inputs, output)

    def run_backward(ctx: Any, g: Tensor) -> Any:
        return backward(ctx, g, *ctx.saved_tensors)

    body: dict[str, Any] = {"forward": staticmethod(forward), "setup_context": staticmethod(setup_context)}
    body |= {
        "backward": staticmethod(more.pop("decorate", lambda f: f)(run_backward)),
        "generate_vmap_rule": "vmap" not in more,
    }
    body |= {name: staticmethod(value) for name, value in more.items()}
    kind: Any = type("Planted", (torch.autograd.Function,), body)

    def call(*operands: Tensor) -> Tensor:
        output: Tensor = kind.apply(*operands)
        return output

    return call
