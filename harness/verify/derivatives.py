"""Probes of second and third derivatives."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors, build
from harness.layers.spec import Dims, Strategy
from harness.verify import probes
from harness.verify.probes import Answer, call_with, differentiable, leaves, named


def second_order(strategy: Strategy, dims: Dims, values: Sequence[Values], live: bool) -> Answer:
    """Gradients of ⟨y, c⟩ + Σ‖∂⟨y, c⟩/∂operand‖², as with a gradient penalty.

    Args:
        live: whether the cotangent c requires a gradient too; where it does not, ``once_differentiable`` drops the
            second term without a word.
    """
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine)
    operands = {**differentiable(inputs), **instance.parameters}
    if live:
        operands["cotangent"] = mine.cotangent.detach().requires_grad_()
    c = operands.get("cotangent", mine.cotangent)
    first = [n for n in operands if n != "cotangent"]
    with buffers_kept():
        if instance.gradients == "func":

            def value(t: Tensors) -> Tensor:
                return torch.sum(call_with(instance, {**mine.inputs, **t}, mine.inputs) * t.get("cotangent", c))

            def penalized(t: Tensors) -> Tensor:
                slopes, y = torch.func.grad_and_value(value)(t)
                total: Tensor = y + torch.stack([slopes[n].square().sum() for n in first]).sum()
                return total

            found = torch.func.grad(penalized)({n: t.detach() for n, t in operands.items()})
            return named(list(operands), [found[n] for n in operands])
        loss = (instance.call(instance.parameters, inputs) * c).sum()
        slopes = torch.autograd.grad(loss, [operands[n] for n in first], create_graph=True)
        total = loss + torch.stack([s.square().sum() for s in slopes]).sum()
        grads = torch.autograd.grad(total, list(operands.values()), allow_unused=True)
    zeros = [torch.zeros_like(t) if g is None else g for g, t in zip(grads, operands.values(), strict=True)]
    return named(list(operands), zeros)


def third_order(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Gradients of the squared size of the gradients of a gradient penalty: up to third derivatives, by the tape."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs, cotangent = leaves(mine), mine.cotangent.detach().requires_grad_()
    operands = {**differentiable(inputs), **instance.parameters, "cotangent": cotangent}
    tensors = list(operands.values())
    with buffers_kept():
        total = (instance.call(instance.parameters, inputs) * cotangent).sum()
        for _ in range(2):
            slopes = torch.autograd.grad(total, tensors, create_graph=True, allow_unused=True)
            total = total + torch.stack([s.square().sum() for s in slopes if s is not None]).sum()
        grads = torch.autograd.grad(total, tensors, allow_unused=True)
    zeros = [torch.zeros_like(t) if g is None else g for g, t in zip(grads, tensors, strict=True)]
    return named(list(operands), zeros)


def walked_twice(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """``probes.walked_twice`` of a backward that is compiled anew and gives up none of its buffers."""
    torch.compiler.reset()
    with buffers_kept():
        answer = probes.walked_twice(strategy, dims, values)
    torch.compiler.reset()
    return answer


@contextmanager
def buffers_kept() -> Iterator[None]:
    """Compiled backwards that give up their buffers refuse the graphs that are walked more than once.

    Nor may one come from Inductor's cache, whose key leaves the setting out: it would write over what is kept. The
    settings hold for this thread, so backwards on a GPU, which have threads of their own, are run in it too.
    """
    inductor = sys.modules.get("torch._inductor.config")  # to import it would import Triton
    uncached = inductor.patch(fx_graph_cache=False) if inductor else nullcontext()
    here = torch.autograd.set_multithreading_enabled(False)
    with torch._functorch.config.patch(donated_buffer=False), uncached, here:
        yield
