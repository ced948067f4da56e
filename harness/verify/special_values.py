"""Tell whether answers to zeros, equal numbers, empty masks, NaN and infinities are the reference's.

An element is held against the reference by its kind (a number, NaN, +inf, −inf), and a number by the error rule with
the scale of its own row. Where they differ:

* the reference is a number, and so is all that the element depends on: ``wrong``;
* the reference is NaN since an input is, and the element depends on that input and is a number: ``wrong``, the NaN is
  hidden. An element depends on an input if another number there changes it in float64; one that doesn't may be NaN in
  the reference (0 × NaN behind a mask), and is not looked at then;
* the reference is not finite for finite inputs (a row with nothing in it), or depends on what is infinite: a matter of
  definition, ``limited``, unless the layer says that strategies answer as its reference does;
* numbers differ where the reference jumps (relu at 0, max of equal numbers), as float64 a billionth to either side
  shows: another definition too;
* what is not finite reaches an element that doesn't depend on it, in the same sample: a definition where the layer
  mixes the rows of a sample (scores that are masked by adding −inf turn NaN, in PyTorch's own attention too) and within
  a row where it mixes the numbers of one (an FFT spreads a NaN over all of it), for
  gradients where that sample's output is not finite, since no loss of it is, and for infinities. In another sample it
  is ``wrong``.

A row's error may be six times the largest of the reference's own there, four spacings of the dtype of the oracle's row
or of a usual one, and the change of the oracle when all operands change by four spacings: equal numbers leave nothing
but rounding of what cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors
from harness.layers.spec import Dims
from harness.records.schema import Check, Result
from harness.verify.asking import StrategyError
from harness.verify.judging import Subject
from harness.verify.oracle import FACTOR, FLOOR_IN_EPS, RETRY_BELOW
from harness.verify.probes import Answer, WrongAnswerError, gradients
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError
from harness.verify.special_inputs import Special, specials

NEAR = 1e-9
"""Of the largest number of an operand: how far to either side a jump of the reference is looked for."""
ROUNDING = 1e-12
"""Relative difference in float64 that is no dependence."""
JUMP = 1e-3
"""Share of an error that a jump of the reference must be to explain it."""
AS_REFERENCE = 'say nonfinite="as reference" on the layer to refuse it'


class _Oracle:
    """The reference in float64 at values near some special ones, asked when it is wanted."""

    def __init__(self, subject: Subject, special: Special, dims: Dims, dtype: str, seed: int) -> None:
        self._subject, self._special, self._dims = subject, special, dims
        self.eps = torch.finfo(getattr(torch, dtype)).eps
        self._dtype, self._seed = dtype, seed

    def _at(self, values: Values) -> Answer:
        return gradients(self._subject.yardstick.reference, self._dims, [values.to(torch.float64)])

    def _moved(self, values: Values, size: Callable[[Tensor], Tensor], sign: int, seed: int) -> Values:
        """Every floating-point operand moved by a random part of a size, to one side or the other."""
        chance = torch.Generator().manual_seed(seed)

        def each(tensors: Tensors) -> Tensors:
            return {
                n: t + sign * size(t) * _random(t, chance) if t.is_floating_point() else t for n, t in tensors.items()
            }

        wide = values.to(torch.float64)
        return replace(wide, inputs=each(wide.inputs), parameters=each(wide.parameters))

    def rounding(self, name: str, truth: Tensor) -> Tensor:
        """Change of each element when all operands change by spacings of the dtype."""
        step = FLOOR_IN_EPS * self.eps
        found = [
            self._at(self._moved(self._special.values, lambda t: step * t.abs(), 1, self._seed + k))[name]
            for k in range(2)
        ]
        return torch.stack([_finite(f - truth).abs() for f in found]).amax(0)

    def jump(self, name: str) -> Tensor:
        """Difference between one side of the values and the other, by rows: which of equal numbers wins is chance."""

        def near(t: Tensor) -> Tensor:
            return t.new_tensor(NEAR) * max(1.0, _finite(t).abs().max().item() if t.numel() else 0.0)

        one, other = (self._at(self._moved(self._special.values, near, s, self._seed))[name] for s in (1, -1))
        return _by_rows(one - other).nan_to_num(nan=torch.inf)

    def depends(self, name: str) -> Tensor:
        """Tell whether each element changes with the special number."""
        if not self._special.others:
            return torch.zeros((), dtype=torch.bool)
        plain, *others = (self._at(v)[name] for v in self._special.others)
        return torch.stack([_changes(plain, o) for o in others]).any(0)

    def usual(self, name: str) -> float:
        """Root mean square of the norms of rows at the values as drawn."""
        values = self._subject.draw(self._dims, self._dtype, self._seed)
        question = Question("special_values", gradients)
        _, plain = self._subject.yardstick.answers(question, self._dims, self._dtype, (self._seed,), [values])
        return float(_by_rows(plain[name]).square().mean().sqrt())

    def excused(self, name: str, truth: Tensor, output: Tensor) -> Tensor:
        """Places where an element may be not finite that doesn't depend on what is not, see the head of this module."""
        layer, special = self._subject.layer, self._special
        every = torch.ones_like(truth, dtype=torch.bool)
        x = special.values.inputs[special.operand]
        has_samples = bool(layer.leading) and layer.leading in layer.output
        sampled = has_samples and layer.inputs[special.operand].names[:1] == (layer.leading,)
        sample = special.place // (x.numel() // len(x)) if sampled else 0
        spoiled = not bool((output[sample] if sampled else output).isfinite().all())
        mixed = self._mixes(sample, sampled) if name == "output" else spoiled
        if not (mixed or special.kind == "infinite"):
            if name != "output" or not self._mixes_within_rows():
                return ~every
            depends = _lines(self.depends(name).to(truth.device).expand(truth.shape))
            return depends.any(1, keepdim=True).expand(depends.shape).reshape(truth.shape)
        own = layer.operands.get(name.removeprefix("gradient of "))
        if not sampled or (own is not None and own.names[:1] != (layer.leading,)):
            return every
        every[:sample], every[sample + 1 :] = False, False
        return every

    def _mixes_within_rows(self) -> bool:
        """Tell whether a number at the end of a row of an input reaches others in its row of the output."""
        plain, name = self._special.others[0], self._special.operand
        truth = self._at(plain)["output"]
        for end in (0, -1):
            x = plain.inputs[name].clone()
            _lines(x)[0, end] *= -2
            changed = _changes(truth, self._at(replace(plain, inputs={**plain.inputs, name: x}))["output"])
            if int(_lines(changed).sum(1).max()) > 1:
                return True
        return False

    def _mixes(self, sample: int, sampled: bool) -> bool:
        """Tell whether the first or the last row of a sample's input reaches other rows of its output than one."""
        plain, name = self._special.others[0], self._special.operand
        truth = self._at(plain)["output"]
        for end in (0, -1):
            x = plain.inputs[name].clone()
            part = x[sample : sample + 1] if sampled else x
            _lines(part)[end] *= -2
            changed = _changes(truth, self._at(replace(plain, inputs={**plain.inputs, name: x}))["output"])
            reached = changed[sample] if sampled else changed
            if int(_lines(reached).any(1).sum()) > 1:
                return True
        return False


def _changes(plain: Tensor, other: Tensor) -> Tensor:
    size = plain.abs().max().item() if plain.numel() else 0.0
    return ~((other - plain).abs() <= ROUNDING * size)


def _random(t: Tensor, chance: torch.Generator) -> Tensor:
    return (torch.rand(t.shape, generator=chance, dtype=torch.float64) * 2 - 1).to(t.device)


def _finite(t: Tensor) -> Tensor:
    return t.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _kinds(t: Tensor) -> Tensor:
    """0 for a number, 1 for NaN, 2 for +inf, 3 for −inf."""
    return t.isnan().long() + 2 * t.isposinf().long() + 3 * t.isneginf().long()


def _lines(t: Tensor) -> Tensor:
    """A view as [lines, last dim]."""
    return t.view(-1, t.shape[-1] if t.dim() else 1)


def _by_rows(t: Tensor) -> Tensor:
    """The norm of each row of the last dim, for every element of it."""
    rows = _lines(t.contiguous())
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norms.expand(rows.shape).reshape(t.shape)


def answered(subject: Subject, dims: Dims, dtype: str, seed: int, few: bool) -> list[Check]:
    """A record for each special input that is not answered as by the reference; one that all are where all are."""
    values, donor = (subject.draw(dims, dtype, s) for s in (seed, seed + 1000))
    chance = torch.Generator().manual_seed(seed)
    made = list(specials(subject.layer, values, donor, chance, few))
    found = [_one(subject, special, dims, dtype, seed, 2 * number + few) for number, special in enumerate(made)]
    return [c for c in found if c is not None] or [
        subject.check("special_values", dtype, dims, "answer", "ok", draws=len(made), seed=seed)
    ]


def _one(subject: Subject, special: Special, dims: Dims, dtype: str, seed: int, number: int) -> Check | None:
    """The worst difference from the reference; None where there is none."""

    def record(tensor: str, result: Result, detail: str) -> Check:
        return subject.check(
            "special_values", dtype, dims, tensor, result, setting=special.setting, seed=seed, draws=1, detail=detail
        )

    question = Question("special_values", gradients)
    try:
        reference, oracle = subject.yardstick.answers(question, dims, dtype, (seed, -1, number), [special.values])
    except UnsoundLayerError as error:
        return record("answer", "not_run", str(error))
    try:
        answer = subject.asked.ask(gradients, dims, [special.values])
    except WrongAnswerError as wrong:
        return record(wrong.tensor, "wrong", str(wrong))
    except StrategyError as error:
        if error.status != "runtime_error":
            raise
        return record("answer", "limited", str(error))
    near = _Oracle(subject, special, dims, dtype, seed)
    found: list[tuple[str, Result, str]] = []
    for name, truth in oracle.items():
        mine = answer[name].to(truth.device).double()
        if mine.shape != truth.shape:
            found.append((name, "wrong", f"shape is {tuple(mine.shape)}, not {tuple(truth.shape)}"))
            continue
        places = _differences(special, near, name, mine, reference[name].double(), oracle)
        found += ((name, *_told(subject, *place, truth, mine)) for place in places)
    found.sort(key=lambda f: f[1] != "wrong")
    return record(*found[0]) if found else None


def _differences(
    special: Special, near: _Oracle, name: str, mine: Tensor, reference: Tensor, oracle: Answer
) -> Iterator[tuple[Tensor, str]]:
    """Places in a tensor where it differs, and why that is ``wrong``, ``hidden`` or ``definition``."""
    truth = oracle[name]
    kinds = _kinds(truth)
    known = _kinds(reference) == kinds
    number = known & (kinds == 0)
    other_kind = known & (_kinds(mine) != kinds)
    off = _off(near, name, mine, reference, truth, number & ~other_kind)
    if not bool((other_kind | off).any()):
        return
    depends = near.depends(name).to(truth.device).expand(truth.shape)
    hidden = other_kind & (kinds == 1) & (_kinds(mine) == 0) & depends & (special.kind == "NaN")
    wrong = other_kind & number & ~depends
    definition = other_kind & ~wrong & ~hidden & (depends | (special.kind == "finite")) | off & depends
    if special.kind != "finite" and bool(wrong.any()):
        excused = near.excused(name, truth, oracle["output"])
        wrong, definition = wrong & ~excused, definition | wrong & excused
    plain = off & ~depends
    if bool(plain.any()):
        jumps = near.jump(name) > JUMP * _by_rows(_finite(mine - truth))
        wrong, definition = wrong | plain & ~jumps, definition | plain & jumps
    yield from ((p, why) for p, why in ((wrong, "wrong"), (hidden, "hidden"), (definition, "definition")) if p.any())


def _told(subject: Subject, places: Tensor, why: str, truth: Tensor, mine: Tensor) -> tuple[Result, str]:
    """A result and its words, from the first of the places."""
    text = _against(truth, mine, places)
    if why == "hidden":
        return "wrong", f"{text}: the NaN is hidden"
    if why == "wrong":
        return "wrong", text
    if subject.layer.nonfinite == "as reference":
        return "wrong", f'definition: {text}; the layer says nonfinite="as reference"'
    return "limited", f"definition: {text}; {AS_REFERENCE}"


def _off(near: _Oracle, name: str, mine: Tensor, reference: Tensor, truth: Tensor, number: Tensor) -> Tensor:
    """Places where numbers stray, in rows that do as a whole."""

    def rows(t: Tensor) -> Tensor:
        return _by_rows(_finite(t).where(number, 0.0))

    error, floor = rows(mine - truth), FLOOR_IN_EPS * near.eps * rows(truth)
    bound = RETRY_BELOW * FACTOR * torch.maximum(rows(reference - truth), floor)
    far: Tensor = number & (error > bound)
    if bool(far.any()):
        usual = FLOOR_IN_EPS * near.eps * near.usual(name)
        far &= error > RETRY_BELOW * FACTOR * rows(near.rounding(name, truth)).clamp_min(usual)
    worst = rows(mine - truth) / max(1, truth.shape[-1] if truth.dim() else 1) ** 0.5
    return far.logical_and((mine - truth).abs() >= worst)


def _against(truth: Tensor, mine: Tensor, places: Tensor) -> str:
    """The first differing element: ``NaN against 0 at [2, 0]``, the reference's first."""
    at = places.nonzero()[0].tolist()
    one, other = (_plain(t[tuple(at)].item()) for t in (truth, mine))
    return f"{one} against {other}" + (f" at {at}" if at else "")


def _plain(number: float) -> str:
    return "NaN" if number != number else f"{number:+}" if abs(number) == torch.inf else f"{number:.3g}"
