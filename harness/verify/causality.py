"""Tell whether what comes later changes what came before: along the dim that a layer calls causal.

At a cut the values after it become others, larger ones where they can be, and the cotangent ends there. Then outputs
before the cut, and all gradients, must be what they were, and gradients of what lies behind it must be 0. A strategy is
held against its own answers, by the error rule with terms of the whole sequence: an FFT rounds relative to the largest
of them, so rounding may reach back and a thousandth of a number may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Strategy
from harness.records.schema import Check
from harness.verify import probes
from harness.verify.judging import Subject
from harness.verify.oracle import Pool, UnusableYardstickError
from harness.verify.probes import Answer, WrongAnswerError
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError

LARGER = 8.0
"""Times as large as what is drawn, where a number may be any."""
ALL_CUTS, EVERY = 33, 8
"""Up to so many steps each cut is asked; of more steps each that is a multiple, where blocks of any size begin."""


def one_by_one(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients of each of several draws in turn, stacked: [draws, ...] of each."""
    answers = [probes.gradients(strategy, dims, [each]) for each in values]
    return {name: torch.stack([a[name] for a in answers]) for name in answers[0]}


@dataclass(frozen=True)
class Cut:
    """A place along the causal dim: steps before it are the past.

    Attributes:
        base: the values as drawn, with a cotangent that ends at the cut.
        changed: the same with others after the cut.
        terms: the largest number of output and gradients where nothing is cut off, by name.
    """

    at: int
    base: Values
    changed: Values
    terms: dict[str, float]


def cuts_of(steps: int, few: bool) -> list[int]:
    """Places to cut so many steps: at the ends, in the middle and where blocks begin; anywhere if they are not many."""
    if few:
        longest = 1 << max(0, (steps - 1).bit_length() - 1)
        return sorted({1, steps // 2, steps - 1} if steps <= ALL_CUTS else {longest})
    return sorted({1, steps - 1, *(range(1, steps) if steps <= ALL_CUTS else range(EVERY, steps, EVERY))})


def causality(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """A record for each tensor, at the cut where it is worst."""
    cuts = list(_cuts(subject, dims, dtype, seed))
    if not cuts:
        reason = "the reference has no finite answer with another future"
        return [subject.check("causality", dtype, dims, "answer", "not_run", seed=seed, detail=reason)]
    try:
        before = subject.asked.ask(one_by_one, dims, [cut.base for cut in cuts])
        after = subject.asked.ask(one_by_one, dims, [cut.changed for cut in cuts])
        return [_held(subject, dims, dtype, seed, cuts, name, before[name], after[name]) for name in before]
    except WrongAnswerError as wrong:
        return [subject.check("causality", dtype, dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))]


def _held(
    subject: Subject, dims: Dims, dtype: str, seed: int, cuts: Sequence[Cut], name: str, before: Tensor, after: Tensor
) -> Check:
    worst, at, pool = -1.0, cuts[0].at, Pool(getattr(torch, dtype))
    for cut, was, now in zip(cuts, before, after, strict=True):
        one = Pool(getattr(torch, dtype))
        kept, now = _past(subject, name, cut.at, was, now)
        try:
            one.add(now, kept, kept.double(), cut.terms[name])
        except UnusableYardstickError:
            detail = "is not finite where nothing is changed"
            return subject.check("causality", dtype, dims, name, "not_run", seed=seed, detail=detail)
        if one.ratio() > worst:
            worst, at, pool = one.ratio(), cut.at, one
    dim = subject.layer.causal
    what = "changes" if name == "output" else "sees or changes"
    detail = f"{what} with what comes after the first {at} along {dim}" if worst > 1 else ""
    return subject.check(
        "causality", dtype, dims, name, "ok" if worst <= 1 else "wrong", error=pool.error, bound=pool.bound, seed=seed,
        draws=len(cuts), detail=detail,
    )  # fmt: skip


def _past(subject: Subject, name: str, at: int, was: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """The part that must stay, and what it has become: of the output what lies before the cut, of a gradient all."""
    if name == "output":
        axis = subject.layer.output.index(subject.layer.causal)
        return was.narrow(axis, 0, at), now.narrow(axis, 0, at)
    names = subject.layer.operands[name.removeprefix("gradient of ")].names
    if subject.layer.causal not in names:
        return was, now
    return _joined(was, torch.zeros_like(was), names.index(subject.layer.causal), at), now


def _joined(before: Tensor, after: Tensor, axis: int, at: int) -> Tensor:
    """The first steps of one tensor and the later ones of another."""
    return torch.cat([before.narrow(axis, 0, at), after.narrow(axis, at, after.shape[axis] - at)], axis)


def _cuts(subject: Subject, dims: Dims, dtype: str, seed: int) -> Iterator[Cut]:
    """The cuts at which the reference answers finite numbers in the case's dtype, as the strategy must.

    A future that the reference cannot have (numbers out of range) gives way to one nearer to what is drawn.

    Raises:
        UnsoundLayerError: the reference refuses even a future that is drawn as its inputs are.
    """
    question = Question("causality", probes.gradients)
    layer = subject.layer
    drawn, other = subject.draw(dims, dtype, seed), subject.draw(dims, dtype, seed + 1)
    axis = layer.output.index(layer.causal)
    for at in cuts_of(dims[layer.causal], subject.interpreted):
        ends = _joined(drawn.cotangent, torch.zeros_like(drawn.cotangent), axis, at)
        refused: UnsoundLayerError | None = None
        for number, changed in enumerate(_futures(layer.causal, drawn, other, at)):
            cut = replace(changed, cotangent=ends)
            try:
                narrow, _ = subject.yardstick.answers(question, dims, dtype, (seed, at, number), [cut])
                _, wide = subject.yardstick.answers(question, dims, dtype, (seed, at, number, -1), [changed])
            except UnsoundLayerError as error:
                refused = error
                continue
            refused = None
            if all(bool(t.isfinite().all()) for t in (*wide.values(), *narrow.values())):
                terms = {n: t.abs().max().item() for n, t in wide.items()}
                yield Cut(at, replace(drawn, cotangent=ends), cut, terms)
                break
        if refused is not None:
            raise refused


def _futures(dim: str, drawn: Values, other: Values, at: int) -> Iterator[Values]:
    """Values with another future, the most different first: larger where numbers may be any, and as they are drawn."""
    for larger, everywhere in ((LARGER, True), (1.0, True), (LARGER, False), (1.0, False)):
        inputs = dict(drawn.inputs)
        for name, x in drawn.inputs.items():
            operand = drawn.operands[name]
            if dim in operand.names and (everywhere or operand.differentiable):
                axis = operand.names.index(dim)
                later = other.inputs[name] * larger if operand.differentiable else other.inputs[name]
                inputs[name] = _joined(x, _continued(x, later, axis, at), axis, at)
        yield replace(drawn, inputs=inputs)


def _continued(x: Tensor, later: Tensor, axis: int, at: int) -> Tensor:
    """The future, where both only grow along the axis (time stamps) shifted so that they still do."""
    if x.dtype == torch.bool or not all(bool((t.diff(dim=axis) >= 0).all()) for t in (x, later)):
        return later
    return later + (x - later).narrow(axis, at - 1, 1)
