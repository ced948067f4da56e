"""What a strategy is asked to do: each probe runs it in one way and answers with tensors, named as in reports.

A probe judges nothing. The same probe, or the plain one that it must agree with (its truth, see suite.py), is run on
the reference in another process, and the answers are compared there: so a strategy that meddles with torch, with the
clock or with the harness itself meddles in its own process alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
import torch._functorch.config
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Instance, MissingGradientError, Tensors, build, vjp
from harness.layers.spec import Dims, Strategy

Answer = dict[str, Tensor]
Probe = Callable[..., Answer]
"""``probe(strategy, dims, values, **options)``; ``values`` are one or more draws that the probe may use up."""


class WrongAnswerError(Exception):
    """An answer that is wrong whatever its numbers; ``tensor`` is what is wrong."""

    def __init__(self, tensor: str, detail: str) -> None:
        super().__init__(detail)
        self.tensor = tensor


def leaves(values: Values) -> Tensors:
    """The inputs as leaves, strides and all (``Values.leaves`` copies them dense); see ``Values.requiring``."""
    return values.requiring(values.inputs)


def differentiable(inputs: Tensors) -> Tensors:
    """Those of the leaves that require a gradient."""
    return {name: x for name, x in inputs.items() if x.requires_grad}


def named(names: Sequence[str], gradients: Sequence[Tensor | None]) -> Answer:
    """Gradients by the names of reports."""
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:
            raise MissingGradientError(name)
    return {f"gradient of {name}": g for name, g in zip(names, gradients, strict=True) if g is not None}


def walk(output: Tensor, wanted: Tensors, cotangent: Tensor) -> Answer:
    """Gradients along the tape."""
    if not output.requires_grad:
        raise MissingGradientError("any operand: the output is cut off the tape")
    return named(list(wanted), torch.autograd.grad(output, list(wanted.values()), cotangent, allow_unused=True))


def gradients(strategy: Strategy, dims: Dims, values: Sequence[Values], afterwards: bool = False) -> Answer:
    """Output, and the gradient of every input and parameter for the cotangent.

    Args:
        afterwards: also give the operands and the cotangent as they are after the call.
    """
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine)
    output, pullback = vjp(instance, inputs)
    _refuse_what_is_no_tensor(output)
    if output.shape != mine.cotangent.shape:
        raise WrongAnswerError("output", f"shape is {tuple(output.shape)}, not {tuple(mine.cotangent.shape)}")
    answer = {"output": output.detach().clone()}
    answer |= named([*differentiable(inputs), *instance.parameters], pullback(mine.cotangent))
    if afterwards:
        operands = {**inputs, **instance.parameters, "cotangent": mine.cotangent}
        answer |= {f"{name} afterwards": t.detach() for name, t in operands.items()}
    return answer


def _refuse_what_is_no_tensor(output: object) -> None:
    if isinstance(output, tuple | list):
        raise WrongAnswerError(
            "output", f"is a {type(output).__name__} of {len(output)}: return one tensor (a layer has one output)"
        )
    if not isinstance(output, Tensor):
        raise WrongAnswerError("output", f"is {'None' if output is None else _kind(output)}: return one torch.Tensor")


def _kind(thing: object) -> str:
    return f"a {type(thing).__module__}.{type(thing).__name__}"


def gradients_of_the_first(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """``gradients`` of the first of several draws."""
    return gradients(strategy, dims, values[:1])


def gradients_of_the_last(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """``gradients`` of the last of several draws."""
    return gradients(strategy, dims, values[-1:])


def repeated(strategy: Strategy, dims: Dims, values: Sequence[Values], times: int) -> Answer:
    """``gradients`` again and again, on copies since one may be written over, stacked: [times, ...] of each."""
    (mine,) = values
    answers = [
        gradients(strategy, dims, [mine.clone()]) for _ in range(times)
    ]  # what is written over is told elsewhere
    return {name: torch.stack([a[name] for a in answers]) for name in answers[0]}


def accumulated(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """``.backward()`` of two calls into a ``.grad`` that holds something already; hooks must see what is added.

    Both forwards come before the backwards, as with two losses or shared weights.
    """
    start, first, second = values
    instance = build(strategy, dims, first.parameters)
    seen: dict[str, list[Tensor]] = {name: [] for name in instance.parameters}
    for name, parameter in instance.parameters.items():
        parameter.grad = start.parameters[name].clone()
        parameter.register_hook(lambda g, name=name: None if g is None else seen[name].append(g.detach().clone()))
    outputs = [instance.call(instance.parameters, leaves(each)) for each in (first, second)]
    for output, each in zip(outputs, (first, second), strict=True):
        if not output.requires_grad:
            raise MissingGradientError("any operand: the output is cut off the tape")
        output.backward(each.cotangent)
    answer = {}
    for name, parameter in instance.parameters.items():
        if len(seen[name]) != 2:
            raise WrongAnswerError(f"hook of {name}", f"saw {len(seen[name])} gradients in two backwards")
        assert parameter.grad is not None
        answer[f"accumulated gradient of {name}"] = parameter.grad
        answer[f"sum seen by the hook of {name}"] = seen[name][0] + seen[name][1]
    return answer


def walked_twice(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Gradients of a second walk along one graph (``retain_graph=True``): the first must leave whole what it used."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine)
    output = instance.call(instance.parameters, inputs)
    if not output.requires_grad:
        raise MissingGradientError("any operand: the output is cut off the tape")
    answer = {"output": output.detach().clone()}
    operands = {**differentiable(inputs), **instance.parameters}
    torch.autograd.grad(output, list(operands.values()), mine.cotangent, retain_graph=True, allow_unused=True)
    return answer | walk(output, operands, mine.cotangent)


def side_by_side(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Two instances in use at a time, with parameters of their own: the first one's answer."""
    first, second = values
    one, other = build(strategy, dims, first.parameters), build(strategy, dims, second.parameters)
    inputs = leaves(first)
    output, pullback = vjp(one, inputs)
    _, others = vjp(other, leaves(second))
    others(second.cotangent)
    grads = pullback(first.cotangent)
    return {"output": output.detach().clone()} | named([*differentiable(inputs), *one.parameters], grads)


def kept(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The first answer of an instance after a second call and backward: what was returned is the caller's."""
    instance = build(strategy, dims, values[0].parameters)
    answers = []
    for each in values:
        inputs = leaves(each)
        output, pullback = vjp(instance, inputs)
        found = pullback(each.cotangent)
        answers.append({"output": output.detach()} | named([*differentiable(inputs), *instance.parameters], found))
    return answers[0]


def updated(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The same tensors with new numbers in them: a copy kept from the first call, or a cache by address, is stale."""
    before, after = values
    instance = build(strategy, dims, before.parameters)
    inputs = leaves(before)
    _, pullback = vjp(instance, inputs)
    pullback(before.cotangent)
    _overwrite(inputs, after.inputs)
    _overwrite(instance.parameters, after.parameters)
    output, pullback = vjp(instance, inputs)
    grads = pullback(after.cotangent)
    return {"output": output.detach()} | named([*differentiable(inputs), *instance.parameters], grads)


def updated_between(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Parameters overwritten between forward and backward: autograd's own refusal, or gradients of the old values."""
    before, after = values
    instance = build(strategy, dims, before.parameters)
    inputs = leaves(before)
    output, pullback = vjp(instance, inputs)
    answer = {"output": output.detach().clone()}
    _overwrite(instance.parameters, after.parameters)
    try:
        grads = pullback(before.cotangent)
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            return {}
        raise
    return answer | named([*differentiable(inputs), *instance.parameters], grads)


def _overwrite(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in old.items():
            tensor.copy_(new[name])


def frozen(strategy: Strategy, dims: Dims, values: Sequence[Values], wanted: Sequence[str]) -> Answer:
    """Gradients of some operands while the others are frozen."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = {n: x.detach().requires_grad_(n in wanted) for n, x in mine.inputs.items()}
    if instance.gradients == "func":
        operands = {**inputs, **instance.parameters}
        fixed = {n: t.detach() for n, t in operands.items() if n not in wanted}

        def function(free: Tensors) -> Tensor:
            return call_with(instance, {**fixed, **free}, inputs)

        output, pull, *_ = torch.func.vjp(function, {n: operands[n].detach() for n in wanted})
        (found,) = pull(mine.cotangent)
        return {"output": output.detach()} | named(wanted, [found[n] for n in wanted])
    for name, parameter in instance.parameters.items():
        parameter.requires_grad_(name in wanted)
    output = instance.call(instance.parameters, inputs)
    operands = {**inputs, **instance.parameters}
    if output.requires_grad != bool(wanted):
        raise WrongAnswerError("output", f"requires_grad is {output.requires_grad} where {list(wanted)} require one")
    found = walk(output, {n: operands[n] for n in wanted}, mine.cotangent) if wanted else {}
    return {"output": output.detach()} | found


def without_gradients(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The output where no graph is made: as in an evaluation."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    with torch.no_grad():
        output = instance.call(instance.parameters, mine.inputs)
    return {"output": output.detach()}


def output_alone(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The truth of ``without_gradients``."""
    return {"output": gradients(strategy, dims, values)["output"]}


def call_with(instance: Instance, operands: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    """The pure output of operands by name, inputs and parameters together."""
    parameters = {n: operands[n] for n in instance.parameters}
    output: Tensor = instance.pure(parameters, {n: operands[n] for n in inputs})
    return output


def forward_ad(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The tangent of the output along a direction, by ``torch.func.jvp``."""
    at, along = values
    instance = build(strategy, dims, at.parameters)
    primals = {**at.differentiable(), **{n: p.detach() for n, p in instance.parameters.items()}}
    tangents = {**along.differentiable(), **along.parameters}

    def function(t: Tensors) -> Tensor:
        return call_with(instance, {**at.inputs, **t}, at.inputs)

    _, tangent, *_ = torch.func.jvp(function, (primals,), (tangents,))
    return {"tangent of output": tangent}


def func_grad(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients by ``torch.func.grad`` of ⟨y, c⟩."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    operands = {**mine.differentiable(), **{n: p.detach() for n, p in instance.parameters.items()}}

    def value(t: Tensors) -> tuple[Tensor, Tensor]:
        output = call_with(instance, {**mine.inputs, **t}, mine.inputs)
        return torch.sum(output * mine.cotangent), output

    found, output = torch.func.grad(value, has_aux=True)(operands)
    return {"output": output.detach()} | named(list(operands), [found[n] for n in operands])


def per_sample(strategy: Strategy, dims: Dims, values: Sequence[Values], ensemble: bool) -> Answer:
    """Output and gradients for each of several draws of the inputs at once, by ``vmap`` of ``func.grad``.

    Args:
        ensemble: each draw with parameters of its own, and the draws along the last dim of each operand.
    """
    instance = build(strategy, dims, values[0].parameters)
    along = -1 if ensemble else 0
    inputs = {n: torch.stack([v.inputs[n] for v in values], along) for n in values[0].inputs}
    parameters = {n: p.detach() for n, p in instance.parameters.items()}
    if ensemble:
        parameters = {n: torch.stack([v.parameters[n] for v in values], along) for n in parameters}

    free = {n: inputs[n] for n in values[0].differentiable()}
    fixed = {n: x for n, x in inputs.items() if n not in free}

    def value(p: Tensors, x: Tensors, rest: Tensors, c: Tensor) -> tuple[Tensor, Tensor]:
        output = instance.pure(p, {n: {**x, **rest}[n] for n in inputs})
        return (output * c).sum(), output

    cotangents = torch.stack([v.cotangent for v in values])
    slopes = torch.func.grad(value, (0, 1), has_aux=True)
    mapped = torch.func.vmap(slopes, (along if ensemble else None, along, along, 0))
    (of_parameters, of_inputs), output = mapped(parameters, free, fixed, cotangents)
    found = {f"per-sample gradient of {n}": g for n, g in {**of_inputs, **of_parameters}.items()}
    return {"per-sample output": output} | found


def per_sample_in_a_loop(strategy: Strategy, dims: Dims, values: Sequence[Values], ensemble: bool) -> Answer:
    """The truth of ``per_sample``."""
    own = [v.parameters if ensemble else values[0].parameters for v in values]
    pairs = zip(values, own, strict=True)
    each = [gradients(strategy, dims, [replace(v, parameters=p)]) for v, p in pairs]
    return {f"per-sample {name}": torch.stack([a[name] for a in each]) for name in each[0]}


def jacobian(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The output's Jacobian for each parameter, by ``torch.func.jacrev``."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    parameters = {n: p.detach() for n, p in instance.parameters.items()}
    found = torch.func.jacrev(lambda p: instance.pure(p, mine.inputs))(parameters)
    return {f"Jacobian for {n}": found[n] for n in parameters}


def jacobian_by_rows(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The truth of ``jacobian``: a backward for each element of the output."""
    (mine,) = values
    rows = []
    for cotangent in torch.eye(mine.cotangent.numel(), dtype=mine.cotangent.dtype, device=mine.cotangent.device):
        one = replace(mine, cotangent=cotangent.view(mine.cotangent.shape))
        rows.append(gradients(strategy, dims, [one]))
    shape = mine.cotangent.shape
    return {
        f"Jacobian for {n}": torch.stack([r[f"gradient of {n}"] for r in rows]).view(*shape, *p.shape)
        for n, p in mine.parameters.items()
    }
