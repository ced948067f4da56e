"""The judge: asks a strategy, works out the truth from the reference, and compares by the rule of oracle.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness.layers.drawing import Values, draw
from harness.layers.spec import Dims, Layer, Strategy
from harness.records.dims import dims_text
from harness.records.schema import Check, Result
from harness.verify.asking import Asked, Claims, StrategyError, status_of
from harness.verify.oracle import DRAWS, FINAL_DRAWS, FLOOR_IN_EPS, RETRY_BELOW, Pool, UnusableYardstickError
from harness.verify.probes import Answer, Probe, WrongAnswerError, gradients
from harness.verify.soundness import UnsoundLayerError
from harness.verify.wasteful import WastefulError

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
    """The reference of a layer on a device, and its answers so far: they serve every strategy of the layer."""

    def __init__(self, reference: Strategy) -> None:
        self.reference = reference
        self._remembered: dict[tuple[Any, ...], tuple[Answer, Answer]] = {}

    def answers(
        self, question: Question, dims: Dims, dtype: str, seeds: tuple[int, ...], values: Sequence[Values]
    ) -> tuple[Answer, Answer]:
        """(reference in the case's dtype, oracle in float64).

        Raises:
            UnsoundLayerError: the reference raised.
        """
        truth = question.truth or question.probe
        peer = question.peer or truth
        kept = tuple(sorted((k, str(v)) for k, v in {**question.truth_options, **question.peer_options}.items()))
        arranged = "" if question.split else question.arrange.__qualname__
        key = (truth.__qualname__, peer.__qualname__, kept, arranged, dims_text(dict(dims)), dtype, seeds)
        if key not in self._remembered:
            try:
                wide = [v.to(torch.float64) for v in values]
                oracle = truth(self.reference, dims, wide, **question.truth_options)
                if dtype == "float64":
                    reference = self._in_float64(question, truth, dims, values, oracle)
                else:
                    reference = peer(self.reference, dims, values, **(question.peer_options or question.truth_options))
            except Exception as error:
                status, line = status_of(error)
                where = dims_text(dict(dims))
                raise UnsoundLayerError(
                    f"its reference fails in {question.check} at {where}: {line}", status
                ) from error
            if sum(t.numel() for t in oracle.values()) > LARGEST_REMEMBERED:
                return reference, oracle
            self._remembered[key] = reference, oracle
        return self._remembered[key]

    def _in_float64(
        self, question: Question, truth: Probe, dims: Dims, values: Sequence[Values], oracle: Answer
    ) -> Answer:
        """The oracle, off by what the reference's float32 error comes to in float64.

        The oracle is the reference in float64, so its own error does not show; where terms cancel that error is far
        above the spacing of the result, and in the same measure for every right implementation.
        """
        narrow = [v.to(torch.float32) for v in values]
        rounded = truth(self.reference, dims, [v.to(torch.float64) for v in narrow], **question.truth_options)
        found = truth(self.reference, dims, narrow, **question.truth_options)
        share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
        return {n: t + (found[n].double() - rounded[n]).nan_to_num() * share for n, t in oracle.items()}


@dataclass(frozen=True)
class Subject:
    """A strategy under test: its names, what it claims, who answers for it, and what it is held against."""

    layer_name: str
    layer: Layer
    strategy_name: str
    claims: Claims
    asked: Asked
    yardstick: Yardstick
    device: str
    interpreted: bool = False

    def check(self, check: str, dtype: str, dims: Dims, tensor: str, result: Result, **more: Any) -> Check:
        """A record of a check on this subject."""
        return Check(
            self.layer_name, self.strategy_name, check, dtype, self.device, dims_text(dict(dims)), tensor, result,
            **more,
        )  # fmt: skip

    def draw(self, dims: Dims, dtype: str, seed: int) -> Values:
        """Values for one call."""
        return draw(self.layer, dims, getattr(torch, dtype), self.device, seed)


def compare(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int, draws: int = DRAWS) -> list[Check]:
    """Ask a question with several draws; a record for each tensor of the answer.

    Args:
        seed: of the first draw; draw d has seed + d.
        draws: a first look; what exceeds its bound by less than three times is drawn again, 8 times where it was
            fewer, and then 64 times, and that is final.

    Raises:
        StrategyError: the strategy raised, and the question is not optional.
        UnsoundLayerError: the reference raised, at sizes that the layer states, and the question is not optional.
    """
    pools: dict[str, Pool] = {}
    kind = getattr(torch, question.eps or dtype)

    def record(tensor: str, result: Result, **more: Any) -> Check:
        return subject.check(question.check, dtype, dims, tensor, result, setting=question.setting, **more)

    for number in range(draws):
        seeds = tuple(seed + number + 1000 * k for k in range(question.count))
        drawn = [subject.draw(dims, dtype, s) for s in seeds]
        arranged = [question.arrange(v) for v in drawn]
        given = drawn if question.split else arranged
        try:
            reference, oracle = subject.yardstick.answers(question, dims, dtype, seeds, given)
            terms = _terms(subject, question, dims, dtype, seeds, drawn, oracle) if question.grows else {}
        except UnsoundLayerError as error:
            if not question.optional and dims in subject.layer.stated:
                raise
            return [record("answer", "not_run", seed=seed + number, detail=str(error))]
        try:
            mine = subject.asked.ask(question.probe, dims, [question.arrange(v) for v in drawn], **question.options)
            if mine or not question.may_refuse:
                _same_kind(mine, reference, arranged[-1], question.split)
        except WrongAnswerError as wrong:
            return [record(wrong.tensor, "wrong", seed=seed + number, detail=str(wrong))]
        except StrategyError as error:
            if not question.optional or error.status not in ("runtime_error", "compile_error"):
                raise
            return [record("answer", "limited", seed=seed + number, detail=str(error))]
        try:
            for name, truth in oracle.items() if mine else ():
                like = mine[name].to(truth.device).reshape(truth.shape)
                pools.setdefault(name, Pool(kind)).add(like, reference[name], truth, terms.get(name, 0.0))
        except UnusableYardstickError as error:
            return [record("answer", "not_run", seed=seed + number, detail=str(error))]

    ratios = {name: pool.ratio() for name, pool in pools.items()}
    if draws < FINAL_DRAWS and 1 < max(ratios.values(), default=0.0) < RETRY_BELOW:
        more = DRAWS if draws < DRAWS else FINAL_DRAWS
        return compare(subject, question, dims, dtype, seed + draws, more)
    if not ratios:
        return [record("answer", "ok", seed=seed, draws=draws)]
    return [
        record(
            name, "ok" if ratio <= 1 else "wrong", error=pools[name].error, bound=pools[name].bound,
            reference_error=pools[name].reference_error, draws=draws, seed=seed, detail=_remark(pools[name], ratio),
        )
        for name, ratio in ratios.items()
    ]  # fmt: skip


def _terms(
    subject: Subject, question: Question, dims: Dims, dtype: str, seeds: tuple[int, ...], drawn: Sequence[Values],
    oracle: Answer,
) -> dict[str, float]:  # fmt: skip
    """Of each tensor that vanishes, to the oracle's own rounding, the size that its terms may have.

    That is a multiple of the tensor's root mean square as drawn.
    """
    _, plain = subject.yardstick.answers(replace(question, arrange=as_given), dims, dtype, seeds, drawn)
    sizes = {n: question.grows * t.square().mean().sqrt().item() for n, t in plain.items() if t.numel()}
    rounding = FLOOR_IN_EPS * torch.finfo(torch.float64).eps
    return {n: size for n, size in sizes.items() if oracle[n].square().mean().sqrt().item() <= rounding * size}


def _same_kind(mine: Answer, reference: Answer, given: Values, split: bool) -> None:
    """Shapes and dtypes are the reference's, or where shapes were changed those of what was given."""
    for name, like in reference.items():
        if name not in mine:
            raise WrongAnswerError(name, "is missing from the answer")
        shape = like.shape
        if split:
            operands = {"output": given.cotangent} | {
                f"gradient of {n}": t for n, t in {**given.inputs, **given.parameters}.items()
            }
            shape = operands[name].shape
        for what, got, wanted in (("shape", mine[name].shape, shape), ("dtype", mine[name].dtype, like.dtype)):
            if got != wanted:
                raise WrongAnswerError(name, f"{what} is {_plain(got)}, not {_plain(wanted)}")


def _plain(kind: torch.Size | torch.dtype) -> str:
    return str(tuple(kind)) if isinstance(kind, torch.Size) else str(kind)


def _remark(pool: Pool, ratio: float) -> str:
    worst, index = pool.worst_element()
    words = [f"element {index} is {worst:.3g} × its own bound"] if worst == ratio and ratio > 1 else []
    if pool.ill_conditioned:
        words.append(f"ill-conditioned: plain autograd itself is off by {pool.ill_conditioned:.0%}")
    return "; ".join(words)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape and dtype are the same bit for bit, NaN and the sign of zero included."""
    a, b = a.detach().cpu().contiguous().reshape(-1), b.detach().cpu().contiguous().reshape(-1)
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def look(subject: Subject, check: str, probe: Probe, dims: Dims, dtype: str, seed: int, **options: Any) -> Check:
    """Ask a probe that says what is wrong by itself; its record."""
    values = [subject.draw(dims, dtype, seed)]
    try:
        subject.asked.ask(probe, dims, values, **options)
    except WrongAnswerError as wrong:
        return subject.check(check, dtype, dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))
    except WastefulError as waste:
        return subject.check(check, dtype, dims, waste.tensor, "wasteful", seed=seed, detail=str(waste))
    return subject.check(check, dtype, dims, "behaviour", "ok", seed=seed)


def check_untouched(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Operands and cotangent are after forward and backward what they were before, bit for bit."""
    before = subject.draw(dims, dtype, seed)
    try:
        answer = subject.asked.ask(gradients, dims, [_copy(before)], afterwards=True)
    except WrongAnswerError as wrong:
        return [subject.check("untouched", dtype, dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))]
    operands = {**before.inputs, **before.parameters, "cotangent": before.cotangent}
    return [
        subject.check(
            "untouched", dtype, dims, name, "ok" if same else "wrong", seed=seed,
            detail="" if same else "was written over",
        )
        for name, tensor in operands.items()
        for same in [same_bits(tensor, answer[f"{name} afterwards"])]
    ]  # fmt: skip


def _copy(values: Values) -> Values:
    return replace(
        values,
        inputs={n: t.clone() for n, t in values.inputs.items()},
        parameters={n: t.clone() for n, t in values.parameters.items()},
        cotangent=values.cotangent.clone(),
        target=values.target.clone(),
    )


def determinism(stacked: Answer) -> dict[str, tuple[bool, float]]:
    """For each tensor of a repeated answer [times, ...]: whether all are the same bits, and their spread (a norm)."""
    found = {}
    for name, tensors in stacked.items():
        same = all(same_bits(tensors[0], t) for t in tensors[1:])
        wide = tensors.double()
        found[name] = (same, 0.0 if same else (wide - wide[0]).flatten(1).norm(dim=1).max().item())
    return found
