"""The one difference between strategies besides their forward: how gradients are taken.

``tape``: autograd records the forward, ``torch.autograd.grad`` walks the tape. ``func``: ``torch.func.vjp`` and
``grad_and_value`` return gradients as values; ``.grad`` stays None and hooks never fire.

Gradients are delivered dense and in their operand's layout, as ``.grad`` accumulation would: a broadcast gradient
that comes as an expanded view is materialised, inside the timed span (a view would beat the memory roof).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.layers.calling import (
    by_name,
    call_module,
    call_purely,
    construct,
    load_parameters,
    module_class,
    parameters_of,
    places_of,
)
from harness.layers.spec import Dims, Strategy, options_of

Tensors = dict[str, Tensor]
Pullback = Callable[[Tensor], list[Tensor]]


class MissingGradientError(RuntimeError):
    """An operand that the output depends on, but that gets no gradient; ``tensor`` is that gradient's name."""

    def __init__(self, operand: str) -> None:
        super().__init__(f"no gradient reached {operand}")
        self.tensor = f"gradient of {operand.split(':')[0]}"


def _dense(name: str, gradient: Tensor | None) -> Tensor:
    if gradient is None:
        raise MissingGradientError(name)
    return gradient.contiguous()


@dataclass(frozen=True)
class Instance:
    """A strategy with its parameters in place.

    Attributes:
        call: ``call(parameters, inputs) -> output``.
        parameters: leaves by name, trainable.
        gradients: ``tape`` or ``func``.
        module: the module, where the strategy is one; its own parameters are used whatever ``call`` is given.
        function: the function of inputs and parameters, where the strategy is one; the options are bound to it.
    """

    call: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Any]
    parameters: Tensors
    gradients: Literal["tape", "func"]
    module: nn.Module | None = None
    function: Callable[..., Any] | None = None

    def pure(self, parameters: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Any:
        """The output as a function of its arguments alone, which is what ``torch.func`` transforms."""
        if self.module is None:
            return self.call(parameters, inputs)
        return call_purely(self.module, parameters, inputs)


def build(strategy: Strategy, dims: Dims, parameters: Mapping[str, Tensor]) -> Instance:
    """Put copies of the parameters into a strategy.

    Args:
        dims: handed to the constructor, as far as it names them, where the strategy is an ``nn.Module`` class; a
            function gets the options among them.
        parameters: values by name; dtype and device are theirs.

    Raises:
        ForwardError: an ``nn.Module`` whose parameters are not the layer's, or whose constructor wants what is no dim.
    """
    if module_class(strategy.forward) is None:
        leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        options = options_of(dims)
        given = by_name(strategy.forward)
        function = partial(given, **options) if options else given
        return Instance(lambda p, x: function(**x, **p), leaves, strategy.gradients, function=function)

    some = next(iter(parameters.values()))
    module = construct(strategy.forward, dims).to(device=some.device, dtype=some.dtype)
    load_parameters(module, parameters)
    own, places = parameters_of(module), places_of(module)
    in_order: Tensors = {name: own[name] for name in parameters}
    if strategy.gradients == "func":
        return Instance(lambda p, x: call_purely(module, p, x), in_order, "func", module)
    return Instance(lambda p, x: call_module(module, places, x), in_order, "tape", module)


def vjp(instance: Instance, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Pullback]:
    """Run the forward and keep what its backward needs.

    Args:
        inputs: tensors by name; those that require a gradient get one.

    Returns:
        The output, and a pullback that maps a cotangent of the output's shape and dtype to the gradients of the
        inputs that require one and then of all parameters, in order.

    Raises:
        MissingGradientError: from the pullback, where an operand gets no gradient.
    """
    if instance.gradients == "tape":
        output = instance.call(instance.parameters, inputs)
        leaves = {name: x for name, x in inputs.items() if x.requires_grad} | instance.parameters

        def along_the_tape(cotangent: Tensor) -> list[Tensor]:
            if not output.requires_grad:
                raise MissingGradientError("any operand: the output is cut off the tape")
            found = torch.autograd.grad(output, list(leaves.values()), cotangent, allow_unused=True)
            return [_dense(name, g) for name, g in zip(leaves, found, strict=True)]

        return output, along_the_tape

    wanted = {name: x.detach() for name, x in inputs.items() if x.requires_grad}
    fixed = {name: x for name, x in inputs.items() if not x.requires_grad}
    primals = {name: p.detach() for name, p in instance.parameters.items()}

    def function(x: Tensors, p: Tensors) -> Tensor:
        output: Tensor = instance.call(p, {**fixed, **x})
        return output

    output, pull, *_ = torch.func.vjp(function, wanted, primals)

    def pullback(cotangent: Tensor) -> list[Tensor]:
        of_inputs, of_parameters = pull(cotangent)
        return [g.contiguous() for g in (*of_inputs.values(), *of_parameters.values())]

    return output, pullback


def loss_and_gradients(
    instance: Instance,
    examples: Sequence[tuple[Mapping[str, Tensor], Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Sum of the losses over (inputs, target) pairs, and the gradient of each parameter, in order."""

    def total(parameters: Mapping[str, Tensor]) -> Tensor:
        losses = [loss(instance.call(parameters, inputs), target) for inputs, target in examples]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    if instance.gradients == "tape":
        value = total(instance.parameters)
        return value.detach(), list(torch.autograd.grad(value, list(instance.parameters.values())))
    primals = {name: p.detach() for name, p in instance.parameters.items()}
    gradients, value = torch.func.grad_and_value(total)(primals)
    return value, list(gradients.values())


def step(
    instance: Instance,
    inputs: Mapping[str, Tensor],
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    learning_rate: float,
) -> tuple[Tensor, list[Tensor]]:
    """Forward, loss, gradients of the parameters and one plain update, in place; returns loss and gradients."""
    value, gradients = loss_and_gradients(instance, [(inputs, target)], loss)
    with torch.no_grad():
        torch._foreach_add_(list(instance.parameters.values()), gradients, alpha=-learning_rate)
    return value, gradients


def of_each_sample(instance: Instance, inputs: Mapping[str, Tensor], cotangent: Tensor) -> list[Tensor]:
    """Per-sample gradients: those of ⟨cotangent, output⟩ of each sample as a batch of one.

    With ``func`` one ``vmap`` of ``grad``. The tape cannot do that in one call, so it goes over the samples.

    Args:
        inputs: each with the samples as its first dim; ``cotangent`` likewise.

    Returns:
        [samples, …] for each parameter, in order.
    """
    if instance.gradients == "tape":
        parameters, rows = list(instance.parameters.values()), []
        for i in range(len(cotangent)):
            output = instance.call(instance.parameters, {n: x[i : i + 1] for n, x in inputs.items()})
            rows.append(torch.autograd.grad(output, parameters, cotangent[i : i + 1]))
        return [torch.stack(each) for each in zip(*rows, strict=True)]

    def value(p: Tensors, x: Tensors, c: Tensor) -> Tensor:
        return torch.sum(instance.pure(p, {n: t[None] for n, t in x.items()}) * c)

    primals = {name: p.detach() for name, p in instance.parameters.items()}
    found = torch.func.vmap(torch.func.grad(value), (None, 0, 0))(primals, dict(inputs), cotangent)
    return [found[name] for name in primals]


def of_each_model(
    instance: Instance, models: Sequence[Mapping[str, Tensor]], inputs: Mapping[str, Tensor], cotangent: Tensor
) -> list[Tensor]:
    """Gradients of an ensemble: those of ⟨cotangent, output⟩ for each of several sets of parameters.

    With ``func`` the sets are stacked for one ``vmap`` of ``grad``; with ``tape`` one model goes after the other.

    Args:
        models: parameters by name, leaves that require a gradient.

    Returns:
        [models, …] for each parameter, in order.
    """
    if instance.gradients == "tape":
        rows = [torch.autograd.grad(instance.pure(p, inputs), list(p.values()), cotangent) for p in models]
        return [torch.stack(each) for each in zip(*rows, strict=True)]

    def value(p: Tensors) -> Tensor:
        return torch.sum(instance.pure(p, inputs) * cotangent)

    stacked = {name: torch.stack([p[name].detach() for p in models]) for name in models[0]}
    found = torch.func.vmap(torch.func.grad(value))(stacked)
    return [found[name] for name in stacked]
