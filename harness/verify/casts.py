"""Casts to a narrower dtype inside a reference, and the oracle that stays in float64 through them.

Language models compute a norm or a softmax in float32 by an explicit cast, whatever they are given. Run in float64
such a reference is no oracle: it is off by float32's rounding. So while it is run as the oracle, and then alone, what
it asks for in float32 (bfloat16, float16, complex64) it gets in float64, and each such cast is noted. That counts only
where the answer stays within float32's rounding of the one as written; else the cast is part of the formula
(frequencies that are rounded on purpose, the bits of a float32, a quantisation), and the reference runs as it is
written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness.verify.terms import terms_of

Answer = dict[str, Tensor]

WIDE = {
    torch.float32: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}
CLOSE = 64 * torch.finfo(torch.float32).eps
"""Of the size of what is added up: farther apart, two answers are not the same formula in two precisions."""
BITS = {torch.ops.aten.view.dtype}
"""Reads the bits of a tensor as another dtype: no cast."""
LITERALS = (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor)
"""Make tensors of Python's numbers, and round them before any operator is seen."""
OURS = (str(Path(torch.__file__).parent) + os.sep, str(Path(__file__).parents[1]) + os.sep)


@dataclass(frozen=True)
class Cast:
    """A request for a narrower dtype, and its place: ``file.py:12``, or ``""`` in a backward that PyTorch wrote."""

    dtype: str
    where: str

    def __str__(self) -> str:
        return f"{self.dtype} at {self.where}" if self.where else self.dtype


BY_DEFAULT = "the default dtype"
"""Stands for the dtype of what is made without one; a module's constructor does that for its parameters."""


@dataclass(frozen=True)
class Oracle:
    """The reference's answer in float64.

    Attributes:
        answer: what others are held against.
        casts: those without which it was found, or that are part of the formula; where no bit changes, those alone
            that name a dtype.
        written: the answer of the reference as it is written; None where no cast changes a bit, or where it raises.
        unasked: why no strategy can be asked in float64; ``""`` where it can.
    """

    answer: Answer
    casts: tuple[Cast, ...] = ()
    written: Answer | None = None
    unasked: str = ""


def oracle_answer(ask: Callable[[], Answer]) -> Oracle:
    """The reference's answer in float64 without its casts, or with them where they are part of its formula.

    Args:
        ask: runs the reference on values in float64, and may be called more than once.

    Raises:
        Exception: whatever the reference raises both as it is written and without its casts.
    """
    problem: Exception | None = None
    wide: Answer = {}
    with kept_wide() as noted:
        try:
            wide = ask()
        except Exception as error:  # noqa: BLE001 - raised again unless the reference does as it is written
            problem = error
    if not noted:
        if problem is not None:
            raise problem
        return Oracle(wide)
    casts = tuple(dict.fromkeys(noted))
    try:
        written = ask()
    except Exception as error:
        if problem is not None:
            raise
        line = " ".join(str(error).split())[:120]
        return Oracle(wide, casts, unasked=f"its reference takes no float64: {type(error).__name__}: {line}")
    if problem is None and all(_same(wide[name], written[name]) for name in wide):
        return Oracle(wide, tuple(c for c in casts if c.dtype != BY_DEFAULT))
    why = f"without it there is a {type(problem).__name__}" if problem else _differ(wide, written, ask)
    if why:
        return Oracle(written, casts, written, f"{words_of(casts)}, which is part of the formula: {why}")
    other = next((n for n in wide if wide[n].dtype != written[n].dtype), "")
    narrow = f"its reference's {other} is {_name(written[other].dtype)} whatever it is given" if other else ""
    return Oracle(wide, casts, written, narrow)


def words_of(casts: tuple[Cast, ...]) -> str:
    """The casts in a few words, those with a place first."""
    told = [c for c in casts if c.dtype != BY_DEFAULT] or casts
    named = list(dict.fromkeys(str(c) for c in told if c.where)) or list(dict.fromkeys(map(str, told)))
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"its reference computes in {', '.join(named[:3])}{more}"


def _same(one: Tensor, two: Tensor) -> bool:
    return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one.nan_to_num(), two.nan_to_num())


def _differ(wide: Answer, written: Answer, ask: Callable[[], Answer]) -> str:
    """The difference of two answers that is more than float32's rounding, in words; empty where there is none.

    A tensor that is small because its terms cancel is held to their size. What depends on no operand has no terms:
    where an answer swings by float32's rounding of a constant, such as the angles of a rotary embedding, that rounding
    is in the formula. Places where either is no number say nothing.
    """
    far = {}
    for name, one in wide.items():
        two = written[name]
        if one.shape != two.shape:
            return f"without it the {name} has another shape"
        numbers = one.isfinite() & two.isfinite()
        difference = (one.double() - two.double()).where(numbers, 0.0).norm().item()
        if not difference <= CLOSE * one.double().where(numbers, 0.0).norm().item():
            far[name] = difference
    terms = terms_of(without_casts(ask), wide) if far else {}
    bad = next((n for n, d in far.items() if not d <= CLOSE * terms[n]), "")
    return f"without it the {bad} differs by more than float32's rounding" if bad else ""


def without_casts(ask: Callable[[], Answer]) -> Callable[[], Answer]:
    """The same question while nothing narrows."""

    def wide() -> Answer:
        with kept_wide():
            return ask()

    return wide


@contextmanager
def kept_wide() -> Iterator[list[Cast]]:
    """Run what is inside in float64, whatever narrower dtype it asks for; the casts that this spares.

    Backwards stay in this thread, and so in the mode, on a GPU too. The default dtype is float64, for what is made
    without a dtype or by dividing whole numbers.
    """
    casts: list[Cast] = []
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autograd.set_multithreading_enabled(False), _Literals(casts), _Wide(casts):
            yield casts
    finally:
        torch.set_default_dtype(default)


class _Wide(TorchDispatchMode):
    """Gives every operator the wide dtype where it is told a narrow one, and beside wide operands only wide ones."""

    def __init__(self, casts: list[Cast]) -> None:
        super().__init__()
        self._casts = casts

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operator would import all of the compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in BITS or (args and not kwargs and all(map(_is_plain, args))):
            return func(*args, **kwargs)
        given = [*args, *kwargs.values()]
        kinds = {t.dtype for a in given for t in (a if isinstance(a, list | tuple) else (a,)) if isinstance(t, Tensor)}
        asked = {a for a in given if isinstance(a, torch.dtype)}
        if not asked.isdisjoint(WIDE):
            self._note(func, args, kwargs)
            args = tuple(WIDE.get(a, a) if isinstance(a, torch.dtype) else a for a in args)
            kwargs = {n: WIDE.get(a, a) if isinstance(a, torch.dtype) else a for n, a in kwargs.items()}
        if not kinds.isdisjoint(WIDE) and not kinds.isdisjoint(WIDE.values()):
            args, kwargs = _widened(func, args, kwargs)
        made = func(*args, **kwargs)
        whole = not any(kind.is_floating_point or kind.is_complex for kind in kinds)
        if whole and not asked and isinstance(made, Tensor) and made.is_floating_point():
            self._casts.append(Cast(BY_DEFAULT, _place()))
        return made

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what an argument called dtype asks for; ``input_dtype`` and the like say what a tensor was."""
        named = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        if named.get("dtype") in WIDE:
            self._casts.append(Cast(_name(named["dtype"]), _place()))


def _is_plain(a: object) -> bool:
    """Tell whether an argument gives nothing to do: most are wide tensors, and there is always one of them."""
    return isinstance(a, Tensor) and a.dtype is torch.float64


class _Literals(TorchFunctionMode):
    """Does the same for tensors that are made of Python's numbers."""

    def __init__(self, casts: list[Cast]) -> None:
        super().__init__()
        self._casts = casts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in LITERALS:
            return func(*args, **kwargs)
        asked = kwargs.get("dtype")
        if asked in WIDE:
            kwargs = {**kwargs, "dtype": WIDE[asked]}
        made = func(*args, **kwargs)
        if asked in WIDE or (asked is None and made.is_floating_point()):
            self._casts.append(Cast(_name(asked) if asked else BY_DEFAULT, _place()))
        return made


def _widened(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with the narrow tensors made wide; those that are written to, or seen through, stay."""
    if func.is_view:
        return args, kwargs
    written = {a.name for a in func._schema.arguments if a.alias_info is not None}
    names = [a.name for a in func._schema.arguments]

    def wide(name: str, a: Any) -> Any:
        if isinstance(a, list | tuple):
            return [wide(name, each) for each in a]
        return a.to(WIDE[a.dtype]) if isinstance(a, Tensor) and a.dtype in WIDE and name not in written else a

    positional = tuple(wide(name, a) for name, a in zip(names, args, strict=False))
    return positional, {name: wide(name, a) for name, a in kwargs.items()}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _place() -> str:
    """File and line of the reference that is being run."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*OURS, "<")):
            return f"{Path(name).name}:{frame.f_lineno}"
        if frame.f_code.co_name == "oracle_answer":
            return ""
        frame = frame.f_back  # type: ignore[assignment]
    return ""
