"""The judge: asks a strategy, works out the truth from the reference, and compares by the rule of oracle.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.layers.drawing import Values, draw
from harness.layers.spec import Dims, Layer
from harness.records.dims import dims_text
from harness.records.schema import Check, Result
from harness.verify.asking import Asked, Claims, StrategyError
from harness.verify.oracle import (
    DRAWS,
    FINAL_DRAWS,
    FLOOR_IN_EPS,
    LOST,
    RETRY_BELOW,
    Pool,
    UnusableYardstickError,
)
from harness.verify.probes import Answer, Probe, WrongAnswerError, gradients
from harness.verify.reference import Question, Yardstick, as_given
from harness.verify.soundness import UnsoundLayerError
from harness.verify.wasteful import WastefulError


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
        except UnusableYardstickError as error:
            return [record("answer", "not_run", seed=seed + number, detail=str(error))]
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
    suspects = [name for name, pool in pools.items() if pool.lost or ratios[name] > 1]
    sizes = lost_terms(subject, question, dims, dtype, seed, {name: pools[name] for name in suspects})
    ratios = {name: ratio for name, ratio in ratios.items() if name not in sizes}
    if draws < FINAL_DRAWS and 1 < max(ratios.values(), default=0.0) < RETRY_BELOW:
        more = DRAWS if draws < DRAWS else FINAL_DRAWS
        return compare(subject, question, dims, dtype, seed + draws, more)
    if not pools:
        return [record("answer", "ok", seed=seed, draws=draws)]

    def judged(name: str, pool: Pool) -> Check:
        size = sizes.get(name, 0.0)
        bound = pool.bound_for(size) if size else pool.bound
        passes = pool.error <= bound if size else ratios[name] <= 1
        word: Result = "wrong" if not passes else "ill_conditioned" if size else "ok"
        vanishes = size > 0 and pool.size <= FLOOR_IN_EPS * torch.finfo(torch.float64).eps * size
        return record(
            name, word, error=pool.error, bound=bound, reference_error=pool.reference_error, draws=draws, seed=seed,
            detail=_of_terms(pool, size, vanishes) if size else _remark(pool, ratios[name]), vanishes=vanishes,
        )  # fmt: skip

    return [judged(name, pool) for name, pool in pools.items()]


def lost_terms(
    subject: Subject, question: Question, dims: Dims, dtype: str, seed: int, pools: Mapping[str, Pool]
) -> dict[str, float]:
    """The norm of the terms of each tensor of which their rounding leaves fewer than three bits, over all draws.

    That is a matter of the oracle and the values alone; a tensor that is not among them is judged as any other.
    """
    if not pools:
        return {}
    draws = next(iter(pools.values())).draws
    few = min(draws, DRAWS)
    squares = dict.fromkeys(pools, 0.0)
    for number in range(few):
        seeds = tuple(seed + number + 1000 * k for k in range(question.count))
        drawn = [subject.draw(dims, dtype, s) for s in seeds]
        given = drawn if question.split else [question.arrange(v) for v in drawn]
        terms = subject.yardstick.terms(question, dims, dtype, seeds, given)
        squares = {name: total + terms[name] ** 2 for name, total in squares.items()}
    sizes = {name: math.sqrt(total * draws / few) for name, total in squares.items()}
    return {name: size for name, size in sizes.items() if pools[name].eps * size > LOST * pools[name].size}


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


def _of_terms(pool: Pool, size: float, vanishes: bool) -> str:
    """A line on what is left of the terms of a tensor."""
    if vanishes:
        return f"the true answer is 0, its terms {size:.3g}: what they leave of each other is rounding"
    own = f"plain autograd itself is off by {100 * pool.reference_error / pool.size:.2g} %"
    return f"ill-conditioned: its terms are {size / pool.size:.2g} times as large as what they leave; {own}"


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
        answer = subject.asked.ask(gradients, dims, [before.clone()], afterwards=True)
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


def determinism(stacked: Answer) -> dict[str, tuple[bool, float]]:
    """For each tensor of a repeated answer [times, ...]: whether all are the same bits, and their spread (a norm)."""
    found = {}
    for name, tensors in stacked.items():
        same = all(same_bits(tensors[0], t) for t in tensors[1:])
        first = tensors[0].double()
        found[name] = (same, 0.0 if same else max((t.double() - first).norm().item() for t in tensors))
    return found
