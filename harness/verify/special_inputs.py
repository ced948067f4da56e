"""Inputs with zeros, equal numbers, masks that leave nothing, NaN and infinities, beside what a layer draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.spec import Layer

Kind = Literal["finite", "NaN", "infinite"]


@dataclass(frozen=True)
class Special:
    """Values with something special in them.

    Attributes:
        setting: a few words.
        kind: of the numbers that were put in.
        values: all of them.
        operand, place: where the one number is that is not finite, a flat index.
        others: the same with other finite numbers there: what differs between these depends on that number.
    """

    setting: str
    kind: Kind
    values: Values
    operand: str = ""
    place: int = 0
    others: tuple[Values, ...] = ()


def _lines(t: Tensor) -> Tensor:
    """A copy as [lines, last dim]."""
    return t.reshape(-1, t.shape[-1] if t.dim() else 1).clone()


def _one_line(t: Tensor, number: float | Tensor, chance: torch.Generator) -> Tensor:
    lines = _lines(t)
    lines[torch.randint(len(lines), (), generator=chance)] = number
    return lines.view(t.shape)


def _with(values: Values, change: Callable[[Tensor], Tensor], *names: str) -> Values:
    return replace(values, inputs={n: change(x) if n in names else x for n, x in values.inputs.items()})


def _equal_lines(t: Tensor) -> Tensor:
    lines = _lines(t)
    return lines[:1].expand_as(lines).clone().view(t.shape)


def _zeros_and_equal(t: Tensor) -> Tensor:
    lines = _lines(t)
    lines[0], lines[-1] = lines[0, 0], 0.0
    return lines.view(t.shape)


def specials(layer: Layer, values: Values, donor: Values, chance: torch.Generator, few: bool) -> Iterator[Special]:
    """Special values of a layer's inputs, each a change of ``values``.

    Args:
        donor: another draw, whose numbers are as good.
        few: as few as find most, where calls are slow.
    """
    numbers = [n for n, x in values.inputs.items() if x.is_floating_point() and x.numel()]
    free = [n for n in numbers if not values.inputs[n].isinf().any()]
    if free and few:
        yield Special("rows of zeros and of equal numbers", "finite", _with(values, _zeros_and_equal, *free))
    elif free:
        yield Special("rows of zeros in all", "finite", _with(values, lambda t: _one_line(t, 0.0, chance), *free))
        yield Special("equal rows", "finite", _with(values, _equal_lines, *free))
        for name in free:
            one = values.inputs[name].flatten()[0]
            zero, equal = (_one_line(values.inputs[name], number, chance) for number in (0.0, one))
            for words, tensor in (("zeros", zero), ("equal numbers", equal)):
                changed = replace(values, inputs={**values.inputs, name: tensor})
                yield Special(f"a row of {words} in {name}", "finite", changed)
    yield from _masked(values, chance)
    for name in free:
        kinds: tuple[Kind, ...] = ("NaN", "infinite") if few else ("NaN", "infinite", "infinite")
        for kind, number in zip(kinds, (torch.nan, torch.inf, -torch.inf), strict=False):
            words = "NaN" if kind == "NaN" else f"{number:+}"
            yield _one_number(values, donor, name, number, f"one {words} in {name}", kind, chance)


def _masked(values: Values, chance: torch.Generator) -> Iterator[Special]:
    """Rows of masks that leave nothing or everything, whichever way round they are meant."""
    for name, x in values.inputs.items():
        flags = not x.is_floating_point() and bool(((x == 0) | (x == 1)).all())
        for number in (0, 1) if flags else (-torch.inf,) if x.isinf().any() else ():
            changed = replace(values, inputs={**values.inputs, name: _one_line(x, number, chance)})
            yield Special(f"a row of {number} in {name}", "finite", changed)


def _one_number(
    values: Values, donor: Values, name: str, number: float, setting: str, kind: Kind, chance: torch.Generator
) -> Special:
    x, other = values.inputs[name], donor.inputs[name].reshape(-1)
    at = int(torch.randint(x.numel(), (), generator=chance))

    def put(new: float | Tensor) -> Values:
        flat = x.reshape(-1).clone()
        flat[at] = new
        return replace(values, inputs={**values.inputs, name: flat.view(x.shape)})

    others = (values, put(other[at]), put(-2 * x.reshape(-1)[at]))
    return Special(setting, kind, put(number), name, at, others)
