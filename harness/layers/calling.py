"""How a strategy's forward is called: always by name, whatever kind of callable it is.

A module's own names map to the layer's by writing an underscore for each dot: ``proj.weight`` is ``proj_weight``. An
input that has the name of a module's buffer is put in the buffer's place before the call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.layers.spec import Dims, Layer, Strategy

Place = tuple[nn.Module, str]
"""Where a buffer hangs: the submodule and its name there."""


class ForwardError(TypeError):
    """A forward that cannot be called as the layer wants; one line that says what does not fit."""


def module_class(forward: Callable[..., Any]) -> type[nn.Module] | None:
    """The ``nn.Module`` class that a forward is, bare or in ``functools.partial``."""
    bare = forward.func if isinstance(forward, functools.partial) else forward
    return bare if inspect.isclass(bare) and issubclass(bare, nn.Module) else None


def construct(module: Callable[..., nn.Module], dims: Dims) -> nn.Module:
    """Build a module from those dims and options that its constructor names, or from all where it takes any keyword.

    Sizes are in upper case, and arguments seldom are: an argument ``hidden`` gets the dim HIDDEN. What the module draws
    to initialise itself leaves the global generator as it was.

    Raises:
        ForwardError: the constructor wants something that is no dim.
    """
    wanted = inspect.signature(module).parameters.values()
    named = [p for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    given = {p.name: dims[name] for p in named for name in (p.name.upper(), p.name) if name in dims}
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        raise ForwardError(
            f"the constructor of {_name(module)} wants {', '.join(missing)}, and the dims are {', '.join(dims)}:"
            f" name a dim {missing[0].upper()}, or give functools.partial(Module, {missing[0]}=value)"
        )
    if any(p.kind is p.VAR_KEYWORD for p in wanted):
        used = {name for p in named for name in (p.name, p.name.upper())}
        given |= {name: size for name, size in dims.items() if name not in used}
    seed, state = torch.initial_seed(), torch.get_rng_state()
    made = module(**given)
    if torch.initial_seed() == seed:  # a seed that a constructor sets is left for the gate to see
        torch.set_rng_state(state)
    return made


def by_name(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A callable that takes operands by name; ``Function.apply`` takes them by position only."""
    function = _applied(forward)
    if function is None:
        return forward
    order = [p for p in inspect.signature(function.forward).parameters if p != "ctx"]

    def call(**operands: Tensor) -> Any:
        return forward(*(operands[name] for name in order if name in operands))

    return call


def refuse_arguments(layer: Layer, strategy: Strategy) -> None:
    """Refuse a function that cannot be called with the layer's operands and options.

    Raises:
        ForwardError: with the names on both sides.
    """
    forward = strategy.forward
    if module_class(forward) is not None:
        return
    function = _applied(forward)
    try:
        signature = inspect.signature(function.forward if function else forward)
    except (ValueError, TypeError):  # a built-in function says nothing of its arguments
        return
    parameters = [p for p in signature.parameters.values() if not (function and p.name == "ctx")]
    names = (*layer.operands, *layer.options)
    try:
        signature.replace(parameters=parameters).bind(**dict.fromkeys(names))
    except TypeError as error:
        takes = ", ".join(p.name for p in parameters)
        raise ForwardError(
            f"the forward takes ({takes}), and is called with {', '.join(names)} by name: {error}"
        ) from None


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's parameters by the layer's names."""
    return {name.replace(".", "_"): parameter for name, parameter in module.named_parameters()}


def places_of(module: nn.Module) -> dict[str, Place]:
    """Where a module's buffers hang, by the layer's names."""
    found = {}
    for full, _ in module.named_buffers():
        owner, _, name = full.rpartition(".")
        found[full.replace(".", "_")] = (module.get_submodule(owner), name)
    return found


def load_parameters(module: nn.Module, parameters: Mapping[str, Tensor]) -> None:
    """Copy values into a module's parameters.

    Raises:
        ForwardError: names or shapes are not the same.
    """
    own = parameters_of(module)
    if own.keys() != parameters.keys():
        raise ForwardError(
            f"{type(module).__name__} has the parameters {_listed(list(own))}, and the layer has"
            f" {_listed(list(parameters))} (a dot in a name is an underscore)"
        )
    for name, value in parameters.items():
        if own[name].shape != value.shape:
            raise ForwardError(
                f"{type(module).__name__} has {name} of shape {tuple(own[name].shape)}, and the layer of"
                f" {tuple(value.shape)}"
            )
    with torch.no_grad():
        for name, value in parameters.items():
            own[name].copy_(value)


def call_module(module: nn.Module, places: Mapping[str, Place], inputs: Mapping[str, Tensor]) -> Any:
    """Call a module with its inputs, those that are buffers of it put in their places."""
    if not places:
        return module(**inputs)
    for name, (owner, buffer) in places.items():
        if name in inputs and getattr(owner, buffer) is not inputs[name]:
            setattr(owner, buffer, inputs[name])
    return module(**{name: x for name, x in inputs.items() if name not in places})


def call_purely(module: nn.Module, parameters: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Any:
    """A module's output as a function of its arguments alone (``torch.func.functional_call``)."""
    own = {name.replace(".", "_"): name for name, _ in module.named_parameters()}
    buffers = {name.replace(".", "_"): name for name, _ in module.named_buffers()}
    state = {own[name]: value for name, value in parameters.items()}
    state |= {buffers[name]: value for name, value in inputs.items() if name in buffers}
    return torch.func.functional_call(module, state, kwargs={n: x for n, x in inputs.items() if n not in buffers})


def _applied(forward: Callable[..., Any]) -> type[torch.autograd.Function] | None:
    """The ``autograd.Function`` whose ``apply`` a forward is."""
    owner = getattr(forward, "__self__", None)
    return owner if inspect.isclass(owner) and issubclass(owner, torch.autograd.Function) else None


def _name(module: Callable[..., Any]) -> str:
    found = module_class(module)
    return found.__name__ if found else getattr(module, "__name__", "the module")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
