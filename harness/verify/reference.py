"""The reference's side of a comparison: what is asked, and what reference and oracle answer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Strategy
from harness.records.dims import dims_text
from harness.verify.asking import status_of
from harness.verify.casts import Cast, Oracle, oracle_answer, without_casts
from harness.verify.oracle import UnusableYardstickError
from harness.verify.probes import Answer, Probe
from harness.verify.soundness import UnsoundLayerError
from harness.verify.terms import terms_of

LARGEST_REMEMBERED = 2**20
"""Elements of an answer that is worth remembering for the next strategy of the layer."""


def as_given(values: Values) -> Values:
    """The values as they were drawn."""
    return values


@dataclass(frozen=True)
class Question:
    """A probe, and what its answer must agree with.

    Attributes:
        probe: what the strategy is asked.
        truth: what the reference is asked in float64; ``probe`` unless another is named.
        peer: what the reference is asked in the case's dtype, for its own error; ``truth`` unless another is named.
        count: how many draws the probe takes at once.
        arrange: puts the values into another layout for the strategy; the reference gets them so too.
        split: whether ``arrange`` changes shapes: the reference then gets the values as drawn, and answers are
            compared element by element.
        eps: the dtype whose spacing counts, where it is not the case's.
        grows: how many times as large as the answer for the values as drawn its terms may be: where an answer vanishes,
            what rounding leaves of them passes. 0: terms are not looked at.
        may_refuse: whether no answer at all is right too (autograd itself has refused).
        optional: whether a clean error means ``limited`` rather than a failure.
    """

    check: str
    probe: Probe
    truth: Probe | None = None
    peer: Probe | None = None
    count: int = 1
    arrange: Callable[[Values], Values] = as_given
    split: bool = False
    eps: str = ""
    grows: float = 0.0
    may_refuse: bool = False
    optional: bool = False
    setting: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    truth_options: dict[str, Any] = field(default_factory=dict)
    peer_options: dict[str, Any] = field(default_factory=dict)


class Yardstick:
    """The reference of a layer on a device, and its answers so far: they serve every strategy of the layer.

    ``casts`` are those without which the oracle was found so far.
    """

    def __init__(self, reference: Strategy) -> None:
        self.reference = reference
        self.casts: tuple[Cast, ...] = ()
        self._remembered: dict[tuple[Any, ...], tuple[Answer, Answer]] = {}
        self._without_casts: set[tuple[Any, ...]] = set()
        self._sizes: dict[tuple[Any, ...], dict[str, float]] = {}

    def answers(
        self, question: Question, dims: Dims, dtype: str, seeds: tuple[int, ...], values: Sequence[Values]
    ) -> tuple[Answer, Answer]:
        """(reference in the case's dtype, oracle in float64).

        Raises:
            UnsoundLayerError: the reference raised.
            UnusableYardstickError: in float64, where the reference has no float64 of its own.
        """
        key = _key(question, dims, dtype, seeds)
        if key not in self._remembered:
            try:
                found = self._found(question, dims, values)
                if dtype != "float64":
                    peer = question.peer or question.truth or question.probe
                    reference = peer(self.reference, dims, values, **(question.peer_options or question.truth_options))
                elif not found.unasked:
                    reference = self._in_float64(question, dims, values, found)
                else:
                    raise UnusableYardstickError(f"not asked in float64: {found.unasked}")
            except UnusableYardstickError:
                raise
            except Exception as error:
                status, line = status_of(error)
                where = dims_text(dict(dims))
                raise UnsoundLayerError(
                    f"its reference fails in {question.check} at {where}: {line}", status
                ) from error
            if found.written is not None and not found.unasked:
                self.casts = tuple(dict.fromkeys((*self.casts, *found.casts)))
            if sum(t.numel() for t in found.answer.values()) > LARGEST_REMEMBERED:
                return reference, found.answer
            self._remembered[key] = reference, found.answer
        return self._remembered[key]

    def terms(
        self, question: Question, dims: Dims, dtype: str, seeds: tuple[int, ...], values: Sequence[Values]
    ) -> dict[str, float]:
        """The norm of what each tensor of the oracle is added up from."""
        key = _key(question, dims, dtype, seeds)
        if key not in self._sizes:
            ask = self._wide(question, dims, values)
            found = self._found(question, dims, values)
            self._sizes[key] = terms_of(ask if found.answer is found.written else without_casts(ask), found.answer)
        return self._sizes[key]

    def _found(self, question: Question, dims: Dims, values: Sequence[Values]) -> Oracle:
        """The oracle's answer; casts are looked for in the first draw, which costs more than the answer."""
        key, first = _key(question, dims, "", ()), values[: question.count]
        if key not in self._without_casts:
            found = oracle_answer(self._wide(question, dims, first))
            if found.casts:
                return found if len(first) == len(values) else oracle_answer(self._wide(question, dims, values))
            self._without_casts.add(key)
            if len(first) == len(values):
                return found
        return Oracle(self._wide(question, dims, values)())

    def _wide(self, question: Question, dims: Dims, values: Sequence[Values]) -> Callable[[], Answer]:
        """The question as the oracle is asked it."""
        truth = question.truth or question.probe
        return lambda: truth(self.reference, dims, [v.to(torch.float64) for v in values], **question.truth_options)

    def _in_float64(self, question: Question, dims: Dims, values: Sequence[Values], found: Oracle) -> Answer:
        """The oracle, off by what the reference's float32 error comes to in float64, or by what its casts cost it.

        The oracle is the reference in float64, so its own error does not show; where terms cancel that error is far
        above the spacing of the result, and in the same measure for every right implementation. Where the reference
        casts, it is itself as far off in float64 as it is written; of the two the larger counts in each element.
        """
        truth = question.truth or question.probe
        narrow = [v.to(torch.float32) for v in values]
        rounded = self._found(question, dims, narrow).answer
        single = truth(self.reference, dims, narrow, **question.truth_options)
        share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
        off = {n: (single[n].double() - rounded[n]).nan_to_num() * share for n in found.answer}
        if found.written is not None:
            cast = {n: (found.written[n].double() - t).nan_to_num() for n, t in found.answer.items()}
            off = {n: torch.where(cast[n].abs() > t.abs(), cast[n], t) for n, t in off.items()}
        return {n: t + off[n] for n, t in found.answer.items()}


def _key(question: Question, dims: Dims, dtype: str, seeds: tuple[int, ...]) -> tuple[Any, ...]:
    """A key of all that the reference's answer to a question depends on."""
    truth = question.truth or question.probe
    peer = question.peer or truth
    kept = tuple(sorted((k, str(v)) for k, v in {**question.truth_options, **question.peer_options}.items()))
    arranged = "" if question.split else question.arrange.__qualname__
    return truth.__qualname__, peer.__qualname__, kept, arranged, dims_text(dict(dims)), dtype, seeds
