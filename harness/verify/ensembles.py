"""Probes of derivatives that are taken outside of ``vmap``, as when several models train at once.

``vmap`` of a forward whose output then goes backward, ``grad`` of a loss that ``vmap`` is part of, and a tangent
through it. A rule for ``vmap`` that leaves the tape loses the gradient without a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Instance, MissingGradientError, Tensors, build
from harness.layers.spec import Dims, Strategy
from harness.verify.probes import Answer, call_with, forward_ad, named, per_sample_in_a_loop


def _stacked(values: Sequence[Values], instance: Instance, shared: bool) -> tuple[Tensors, dict[str, int | None]]:
    """The operands of several draws in one tensor each, and along which dim; the first of the inputs, else the last.

    Args:
        shared: whether all have the first one's parameters, which are not stacked.
    """
    along = 0 if shared else -1
    operands = {n: torch.stack([v.inputs[n] for v in values], along) for n in values[0].inputs}
    dims: dict[str, int | None] = dict.fromkeys(operands, along)
    for n, p in instance.parameters.items():
        operands[n] = p.detach().clone() if shared else torch.stack([v.parameters[n] for v in values], along)
        dims[n] = None if shared else along
    return operands, dims


def through_vmap(strategy: Strategy, dims: Dims, values: Sequence[Values], shared: bool, tape: bool) -> Answer:
    """Outputs of several draws at once by ``vmap``, and the gradients of all operands, taken outside of it.

    Args:
        shared: whether all have one set of parameters, whose gradients are then sums.
        tape: whether gradients come from ``torch.autograd.grad``; else from ``torch.func.grad``.
    """
    instance = build(strategy, dims, values[0].parameters)
    operands, along = _stacked(values, instance, shared)
    wanted = [*values[0].differentiable(), *instance.parameters]
    cotangents = torch.stack([v.cotangent for v in values])

    def one(t: Tensors) -> Tensor:
        return call_with(instance, t, values[0].inputs)

    mapped = torch.func.vmap(one, (along,))
    if tape:
        leaves = {n: operands[n].requires_grad_() for n in wanted}
        output = mapped(operands)
        if not output.requires_grad:
            raise MissingGradientError("any operand: the output of vmap is cut off the tape")
        found = torch.autograd.grad(output, list(leaves.values()), cotangents, allow_unused=True)
        return {"mapped output": output.detach()} | named(wanted, found)

    def value(free: Tensors) -> tuple[Tensor, Tensor]:
        output = mapped({**operands, **free})
        return (output * cotangents).sum(), output

    slopes, output = torch.func.grad(value, has_aux=True)({n: operands[n] for n in wanted})
    return {"mapped output": output.detach()} | named(wanted, [slopes[n] for n in wanted])


def in_a_loop(strategy: Strategy, dims: Dims, values: Sequence[Values], shared: bool) -> Answer:
    """The truth of ``through_vmap``; gradients are stacked as the operands are."""
    each = per_sample_in_a_loop(strategy, dims, values, ensemble=not shared)
    answer = {"mapped output": each.pop("per-sample output")}
    for name, tensor in each.items():
        plain = name.removeprefix("per-sample ")
        if shared:
            summed = plain.removeprefix("gradient of ") in values[0].parameters
            answer[plain] = tensor.sum(0) if summed else tensor
        else:
            answer[plain] = tensor.movedim(0, -1)
    return answer


def tangent_through_vmap(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Tangents of the outputs of several draws at once: ``torch.func.jvp`` of ``vmap``.

    Args:
        values: points, and as many directions after them.
    """
    points, directions = values[: len(values) // 2], values[len(values) // 2 :]
    instance = build(strategy, dims, points[0].parameters)
    operands, along = _stacked(points, instance, shared=False)
    tangents, _ = _stacked(directions, instance, shared=False)
    free = [*points[0].differentiable(), *instance.parameters]
    mapped = torch.func.vmap(lambda t: call_with(instance, t, points[0].inputs), (along,))

    def function(t: Tensors) -> Tensor:
        output: Tensor = mapped({**operands, **t})
        return output

    _, tangent, *_ = torch.func.jvp(function, ({n: operands[n] for n in free},), ({n: tangents[n] for n in free},))
    return {"tangent of mapped output": tangent}


def tangents_in_a_loop(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The truth of ``tangent_through_vmap``."""
    half = len(values) // 2
    pairs = zip(values[:half], values[half:], strict=True)
    found = [forward_ad(strategy, dims, pair)["tangent of output"] for pair in pairs]
    return {"tangent of mapped output": torch.stack(found)}
