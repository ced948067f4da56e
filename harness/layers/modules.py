"""A layer from an ``nn.Module`` as it is: its parameters, its buffers and its own initialisation.

Parameters are drawn as the module initialises itself, seeded by the draw's seed; buffers are inputs without a gradient,
with the values that the module gives them. A parameter that starts as one number everywhere (a bias of 0, a scale of 1)
gets uniform noise in ±1/2 added: a strategy that forgets it would pass otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from harness.layers.calling import ForwardError, construct
from harness.layers.spec import Dims, ImpossibleDimsError, Layer, Operand

Key = tuple[tuple[str, int], ...]
"""Dims that can be remembered."""


def layer_of(
    module: Callable[..., nn.Module],
    inputs: Mapping[str, Operand | tuple[str, ...]],
    state: Mapping[str, Tensor] | None = None,
    **more: Any,
) -> Layer:
    """The layer that a module is.

    Args:
        module: an ``nn.Module`` class, or one in ``functools.partial``; built from those dims that its constructor
            names.
        inputs: the forward's arguments by name: an operand, or the names of its dims for unit normal values.
        state: a ``state_dict``, whose tensors are taken instead of the module's own initialisation wherever their
            shape is that of the case.
        more: the other fields of ``Layer``; ``output`` and ``check`` are required.

    Raises:
        ForwardError: the constructor wants something that is no dim; state is not the module's.
        ImpossibleDimsError: the module cannot be built at the sizes of ``check``.
    """
    if isinstance(module, nn.Module):
        raise ValueError("the module is built already: give its class, or one in functools.partial")
    if not more.get("check"):
        raise ValueError("check is missing: give one to three sizes, such as check=({'N': 7, 'D': 13},)")
    own = _Own(module, state)
    first = own.values(more["check"][0], 0)
    buffers = {name: _buffer(own, name, tensor) for name, tensor in first.items() if name in own.buffers}
    given = {name: o if isinstance(o, Operand) else Operand(o) for name, o in inputs.items()}
    parameters = {name: Operand(own.shape(name), own.draw(name)) for name in first if name not in own.buffers}
    return Layer(inputs={**given, **buffers}, parameters=parameters, **more)


def _buffer(own: _Own, name: str, like: Tensor) -> Operand:
    kind = "" if like.is_floating_point() else str(like.dtype).removeprefix("torch.")
    return Operand(own.shape(name), own.draw(name), differentiable=False, dtype=kind)


class _Own:
    """What a module gives its parameters and buffers, at any dims."""

    def __init__(self, module: Callable[..., nn.Module], state: Mapping[str, Tensor] | None) -> None:
        self._module = module
        self._state = {name.replace(".", "_"): t.detach() for name, t in (state or {}).items()}
        self.buffers: frozenset[str] = frozenset()
        self._initialised = functools.lru_cache(maxsize=1)(self._initialise)
        self._shapes = functools.lru_cache(maxsize=256)(self._measure)

    def values(self, dims: Dims, seed: int) -> dict[str, Tensor]:
        """Parameters and buffers of a module that initialised itself with this seed."""
        return self._initialised(tuple(dims.items()), seed)

    def shape(self, name: str) -> Callable[[Dims], tuple[int, ...]]:
        """The shape of a tensor as a function of the dims."""
        return lambda dims: self._shapes(tuple(dims.items()))[name]

    def draw(self, name: str) -> Callable[..., Tensor]:
        """The draw of a tensor."""

        def draw(shape: tuple[int, ...], generator: Generator, dims: Dims) -> Tensor:
            given = self._state.get(name)
            if given is not None and given.shape == shape:
                return given.to(generator.device)
            value = self.values(dims, generator.initial_seed())[name].to(generator.device)
            if name in self.buffers or not value.numel() or not bool((value == value.flatten()[0]).all()):
                return value
            return value + torch.rand(shape, generator=generator, device=generator.device) - 0.5

        return draw

    def _initialise(self, key: Key, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = self._build(dict(key))
        self._refuse_state(made)
        self.buffers = frozenset(name.replace(".", "_") for name, _ in made.named_buffers())
        return _tensors(made)

    def _refuse_state(self, made: nn.Module) -> None:
        unknown = self._state.keys() - {name.replace(".", "_") for name in made.state_dict()}
        if unknown:
            raise ForwardError(f"state has {', '.join(sorted(unknown))}, which {type(made).__name__} has not")

    def _measure(self, key: Key) -> dict[str, tuple[int, ...]]:
        try:
            with torch.device("meta"):
                made = construct(self._module, dict(key))
        except (RuntimeError, NotImplementedError):  # a constructor that looks at its own numbers
            made = self._build(dict(key))
        except Exception as error:  # noqa: BLE001 - see _build
            raise _impossible(dict(key), error) from None
        return {name: tuple(t.shape) for name, t in _tensors(made).items()}

    def _build(self, dims: Dims) -> nn.Module:
        try:
            return construct(self._module, dims)
        except ForwardError:
            raise
        except Exception as error:  # noqa: BLE001 - a constructor refuses its arguments with whatever it likes
            raise _impossible(dims, error) from None


def _impossible(dims: Dims, error: Exception) -> ImpossibleDimsError:
    return ImpossibleDimsError(f"the module cannot be built at {dict(dims)}: {type(error).__name__}: {error}")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the layer's names.

    Raises:
        ForwardError: two of them have one name.
    """
    found: dict[str, Tensor] = {}
    for full, tensor in (*module.named_parameters(), *module.named_buffers()):
        name = full.replace(".", "_")
        if name in found:
            raise ForwardError(f"{type(module).__name__} has two tensors called {name}, with an underscore for a dot")
        found[name] = tensor.detach()
    return found
