"""How large the terms are that an answer is added up from.

Where they all but cancel, little is left of what each was rounded to. So the oracle is run once more in float64 while
every result inside it is moved by a random share of 2⁻²⁶ of itself, as rounding would move it: how far the answer
moves, divided by that share, is the size of its terms (Monte Carlo arithmetic, Parker 1997). What depends on no operand
is left as it is. It is a matter of the
reference and its values alone: no strategy has a part in it, nor has what the reference loses by casting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

SHARE = 2.0**-26
"""Far above float64's own rounding, and so small that an answer moves in proportion."""
EXACT = {
    "abs", "amax", "amin", "cat", "clone", "constant_pad_nd", "copy_", "empty_like", "fill_", "flip", "full_like",
    "gather", "index", "index_select", "masked_fill", "masked_fill_", "max", "maximum", "min", "minimum", "neg",
    "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "relu", "roll", "sign", "sort", "stack", "topk",
    "tril", "triu", "where", "zeros_like",
}  # fmt: skip
"""Operators that round nothing."""


def terms_of(ask: Callable[[], dict[str, Tensor]], answer: dict[str, Tensor], seed: int = 0) -> dict[str, float]:
    """The norm of each tensor's terms; 0 where nothing that is rounded has a part in it.

    Args:
        ask: runs the reference in float64, in just the way in which the answer was found.
        answer: what it answered.
    """
    with _Moved(seed):
        moved = ask()
    return {
        n: (moved[n].double() - t.double()).where(t.isfinite(), 0.0).norm().item() / SHARE for n, t in answer.items()
    }


class _Moved(TorchDispatchMode):
    """Moves what every operator gives by a random share of itself, but for constants, which are part of the formula."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._constant = WeakTensorKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see casts.py

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = [t for a in args for t in (a if isinstance(a, list | tuple) else (a,)) if _real(t)]
        if all(t in self._constant for t in given):
            self._constant.update((t, True) for t in _each(made) if _real(t))
            return made
        if func._schema.is_mutable:
            for each in {id(t): t for t in _each(made) if _real(t)}.values():
                self._constant.pop(each, None)
                if func.overloadpacket.__name__ not in EXACT:
                    each.mul_(self._factor(each))
            return made
        if func.is_view or func.overloadpacket.__name__ in EXACT:
            return made
        if isinstance(made, list | tuple):
            return type(made)(t * self._factor(t) if _real(t) else t for t in made)
        return made * self._factor(made) if _real(made) else made

    def _factor(self, like: Tensor) -> Tensor:
        if like.device not in self._generators:
            self._generators[like.device] = torch.Generator(like.device).manual_seed(self._seed)
        noise = torch.randn(
            like.shape, generator=self._generators[like.device], device=like.device, dtype=torch.float64
        )
        return 1 + SHARE * noise


def _each(made: object) -> list[Any]:
    return list(made) if isinstance(made, list | tuple) else [made]


def _real(thing: object) -> bool:
    return isinstance(thing, Tensor) and (thing.is_floating_point() or thing.is_complex())
