"""Other layouts and shapes of the same values: what users' tensors look like when they are not fresh and dense."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Layer

SPLIT = (2, 3)
"""The leading dim as two: of 6."""

AROUND_POWERS = tuple(sorted({n for k in range(1, 6) for n in (2**k - 1, 2**k, 2**k + 1)} | {1}))
TRIES = 1000
ODD = (5, 11, 13, 19, 21, 27, 35, 37)


def random_dims(layer: Layer, seed: int | str, most: int = 40_000) -> Dims | None:
    """Random options, and sizes: powers of two, next to one, or odd; no operand of more than ``most`` elements.

    None where the layer can hardly have any such sizes.
    """
    chance = random.Random(seed)
    for _ in range(TRIES):
        dims = {name: chance.choice(layer.options.get(name, (*AROUND_POWERS, *ODD))) for name in layer.check[0]}
        if not layer.possible(dims):
            continue
        sizes = [torch.Size(o.sizes(dims)).numel() for o in layer.operands.values()]
        if max(sizes) <= most and torch.Size([dims[n] for n in layer.output]).numel() <= most:
            return dims
    return None


def poison(dtype: torch.dtype) -> float | int | bool:
    """A number that shows wherever it is read by mistake: NaN; as an index, one that is nowhere."""
    if dtype.is_floating_point:
        return torch.nan
    return False if dtype is torch.bool else torch.iinfo(dtype).min


def _transposed(t: Tensor) -> Tensor:
    """The same numbers, stored with the last two dims the other way round."""
    return t if t.dim() < 2 else t.transpose(-1, -2).contiguous().transpose(-1, -2)


def _strided(t: Tensor) -> Tensor:
    """The same numbers in every second place of a larger buffer, NaN between them (the least number of integers)."""
    buffer = torch.full((*t.shape, 2), poison(t.dtype), dtype=t.dtype, device=t.device)
    view = buffer[..., 0]
    view.copy_(t)
    return view


def _expanded(t: Tensor) -> Tensor:
    """The first row repeated, with a stride of 0."""
    return t if t.dim() < 1 else t[:1].expand(t.shape)


def _uniform(t: Tensor) -> Tensor:
    """One number repeated in every place, all strides 0: the cotangent of ``output.sum()``."""
    return t.flatten()[0].expand(t.shape) if t.numel() else t


def _inputs(values: Values, each: Callable[[Tensor], Tensor]) -> Values:
    return replace(values, inputs={n: each(x) for n, x in values.inputs.items()})


def _numbers(values: Values, each: Callable[[Tensor], Tensor]) -> Values:
    """Inputs with other numbers; indices and labels stay, since other ones may be out of range."""
    return _inputs(values, lambda x: each(x) if x.is_floating_point() else x)


def transposed_inputs(values: Values) -> Values:
    """Inputs with their last two dims stored the other way round."""
    return _inputs(values, _transposed)


def strided_inputs(values: Values) -> Values:
    """Inputs that are every second element of a buffer."""
    return _inputs(values, _strided)


def expanded_inputs(values: Values) -> Values:
    """Inputs whose first dim has stride 0."""
    return _inputs(values, _expanded)


def transposed_parameters(values: Values) -> Values:
    """Parameters with their last two dims stored the other way round (a tied or loaded weight)."""
    return replace(values, parameters={n: _transposed(p) for n, p in values.parameters.items()})


def _cotangent(values: Values, cotangent: Tensor) -> Values:
    return replace(values, cotangent=cotangent)


def uniform_cotangent(values: Values) -> Values:
    """The cotangent of ``output.sum()`` times a number: all strides 0."""
    return _cotangent(values, _uniform(values.cotangent))


def expanded_cotangent(values: Values) -> Values:
    """A cotangent whose first dim has stride 0."""
    return _cotangent(values, _expanded(values.cotangent))


def transposed_cotangent(values: Values) -> Values:
    """A cotangent with its last two dims stored the other way round."""
    return _cotangent(values, _transposed(values.cotangent))


def strided_cotangent(values: Values) -> Values:
    """A cotangent that is every second element of a buffer."""
    return _cotangent(values, _strided(values.cotangent))


def strided(values: Values) -> Values:
    """Inputs, parameters and cotangent that are every second element of a buffer each."""
    parameters = {n: _strided(p) for n, p in values.parameters.items()}
    return replace(strided_cotangent(strided_inputs(values)), parameters=parameters)


def positive(values: Values) -> Values:
    """Inputs and cotangent without their signs: long sums grow, so a narrow running total stands still."""
    return replace(_numbers(values, torch.abs), cotangent=values.cotangent.abs() / 8)


def with_zeros(values: Values) -> Values:
    """Inputs in which every other element is 0."""

    def zeroed(t: Tensor) -> Tensor:
        other = torch.arange(t.numel(), device=t.device).view(t.shape) % 2
        return t * other.to(t.dtype)

    return _numbers(values, zeroed)


def large(values: Values) -> Values:
    """Inputs 2¹⁰ times as large: what is exponentiated or squared carelessly overflows."""
    return _numbers(values, lambda t: t * 1024)


MAGNITUDES = (with_zeros, large)
GROWS = 1024.0**2
"""How many times as large as at the values drawn what cancels in a gradient may be: inputs meet in pairs there."""
COTANGENTS = (uniform_cotangent, expanded_cotangent, transposed_cotangent, strided_cotangent)
LAYOUTS = (transposed_inputs, strided_inputs, expanded_inputs, transposed_parameters)


def split_leading(layer: Layer) -> Callable[[Values], Values]:
    """A function that gives the leading dim, of 6, as two dims of 2 and 3."""

    def split(values: Values) -> Values:
        inputs = {n: x.unflatten(0, SPLIT) if n in layer.leading_inputs else x for n, x in values.inputs.items()}
        cotangent = values.cotangent
        if layer.leading in layer.output:
            cotangent = cotangent.unflatten(0, SPLIT)
        return replace(values, inputs=inputs, cotangent=cotangent)

    return split
