"""Tell whether answers follow the values: operands are changed in ways that a cache may not see, and asked about again.

A result may be kept by the identity of its operands (``id``, address, ``_version``) or by a fingerprint of some of
their elements. So single elements in random places are changed, in each operand and the cotangent in turn, by writes
that move ``_version`` and by writes that do not; two elements change places, which keeps a sum; and a new tensor with
other numbers stands at the old address.

An answer that was kept must be told from one that is new, so a change must move the answer by clearly more than its
bound: where one element does not, a line of the tensor is changed, or all of it. What is looked for is an answer, or
a part of one, that has not moved: one that is three times its bound away from the new one, and by a tenth of the way to
the old one. (By the bound alone a scalar of one draw would be refused where the reference is right by luck.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Instance, Tensors, build, vjp
from harness.layers.spec import Dims, Strategy
from harness.records.schema import Check
from harness.verify.judging import Subject
from harness.verify.oracle import RETRY_BELOW, Pool, UnusableYardstickError
from harness.verify.probes import Answer, differentiable, gradients, named
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError

IN_PLACE, DATA, ALIAS, SAME_PLACE = WAYS = ("in place", "through .data", "through an alias", "by a tensor in its place")
CLEARLY = 2 * RETRY_BELOW
"""How many times its bound a change must move some tensor of the answer, so that a kept one is beyond any doubt."""
SHARE = 0.1
"""Of the way from the new answer to the old one; rounding is far less of it, and a part that was kept more."""
TRIES = 64
"""Pairs of elements that are looked at for one whose exchange keeps the sum to the last bit."""
ADVICE = (
    "keep nothing by address, version or some of the elements: compute anew, or compare all that a result depends on"
)


def after_changes(
    strategy: Strategy, dims: Dims, values: Sequence[Values], changes: Sequence[Sequence[str]], evaluate: bool
) -> Answer:
    """Output and gradients of one instance after each of several changes of its operands, numbered from 1.

    Args:
        values: at first, and after each change.
        changes: (operand, way) of each.
        evaluate: also give the output without a graph.
    """
    instance = build(strategy, dims, values[0].parameters)
    inputs = values[0].leaves()
    held = {"cotangent": values[0].cotangent.clone()}
    _asked(instance, inputs, held["cotangent"], evaluate)
    answer: Answer = {}
    for number, ((name, way), after) in enumerate(zip(changes, values[1:], strict=True), 1):
        tensors = next(t for t in (inputs, instance.parameters, held) if name in t)
        new = _operands(after)[name]
        _write(tensors, name, new, way, movable=instance.module is None or name not in instance.parameters)
        found = _asked(instance, inputs, held["cotangent"], evaluate)
        answer |= {f"{number} {n}": t for n, t in found.items()}
    return answer


def _asked(instance: Instance, inputs: Tensors, cotangent: Tensor, evaluate: bool) -> Answer:
    operands = [*inputs.values(), *instance.parameters.values(), cotangent]
    before = [t.detach().clone() for t in operands]
    output, pullback = vjp(instance, inputs)
    answer = {"output": output.detach().clone()}
    grads = pullback(cotangent)
    answer |= named([*differentiable(inputs), *instance.parameters], [g.clone() for g in grads])
    for operand, kept in zip(operands, before, strict=True):
        operand.data.copy_(kept)  # what is written over is told by another check, and moves no version here
    if evaluate:
        with torch.no_grad():
            answer["output without a graph"] = instance.call(instance.parameters, inputs).detach().clone()
    return answer


def _write(tensors: Tensors, name: str, new: Tensor, way: str, movable: bool) -> None:
    """Give an operand other numbers; one that is a module's parameter stays the same object."""
    old = tensors[name]
    with torch.no_grad():
        if way == IN_PLACE:
            old.copy_(new)
        elif way == DATA:
            old.data.copy_(new)
        elif way == ALIAS:
            old.data.view(-1).copy_(new.reshape(-1))
        elif movable:
            requires = old.requires_grad
            old.data.copy_(new)
            place = (old.untyped_storage(), old.storage_offset(), old.size(), old.stride())
            like = torch.empty(0, dtype=old.dtype, device=old.device)
            del tensors[name], old
            tensors[name] = like.set_(*place).data.requires_grad_(requires)
        else:
            old.data = new.clone()


@dataclass(frozen=True)
class Step:
    """A change: the operand, the way it is written, and all values afterwards with what is right for them."""

    operand: str
    way: str
    values: Values
    reference: Answer
    oracle: Answer


def _operands(values: Values) -> Tensors:
    return {**values.inputs, **values.parameters, "cotangent": values.cotangent}


def _with(values: Values, name: str, tensor: Tensor) -> Values:
    if name == "cotangent":
        return replace(values, cotangent=tensor)
    if name in values.inputs:
        return replace(values, inputs={**values.inputs, name: tensor})
    return replace(values, parameters={**values.parameters, name: tensor})


def _changed(old: Tensor, donor: Tensor, way: str, chance: torch.Generator) -> Iterator[Tensor]:
    """Other numbers for an operand, more of them each time; all that the layer may draw.

    Numbers that grow along the last dim (time stamps) still do. Indices, labels and masks change as a whole, since a
    single one may contradict the others.
    """
    if old.is_floating_point() and way != SAME_PLACE and old.numel() > 1:
        flat, other = old.reshape(-1), donor.reshape(-1)
        differ = (flat != other).nonzero().flatten().cpu()
        if _grows(old):
            yield _between(old, chance)
        elif way == ALIAS:
            yield _exchanged(flat, chance).view(old.shape)
        elif len(differ):
            one = flat.clone()
            at = differ[torch.randint(len(differ), (), generator=chance)]
            one[at] = other[at]
            yield one.view(old.shape)
        if old.dim() > 1:
            lines = old.reshape(-1, old.shape[-1]).clone()
            at = torch.randint(len(lines), (), generator=chance)
            lines[at] = donor.reshape(lines.shape)[at]
            yield lines.view(old.shape)
    yield donor.clone()


def _grows(t: Tensor) -> bool:
    steps = t.diff(dim=-1) if t.dim() and t.shape[-1] > 2 else t.new_zeros(1)
    return bool((steps > 0).all() or (steps < 0).all())


def _between(t: Tensor, chance: torch.Generator) -> Tensor:
    """One number elsewhere between its neighbours along the last dim."""
    lines = t.reshape(-1, t.shape[-1]).clone()
    line = torch.randint(len(lines), (), generator=chance)
    at = torch.randint(1, t.shape[-1] - 1, (), generator=chance)
    low, now, high = lines[line, at - 1], lines[line, at], lines[line, at + 1]
    lines[line, at] = (low + now) / 2 if (now - low).abs() > (high - now).abs() else (now + high) / 2
    return lines.view(t.shape)


def _exchanged(flat: Tensor, chance: torch.Generator) -> Tensor:
    """Two numbers in each other's place, if possible such that their sum stays as it is to the last bit."""
    total, wide, changed = flat.sum(), flat.double().sum(), flat
    for _ in range(TRIES):
        i, j = torch.randint(len(flat), (2,), generator=chance).tolist()
        if flat[i] == flat[j]:
            continue
        changed = flat.clone()
        changed[i], changed[j] = flat[j], flat[i]
        if torch.equal(changed.sum(), total) and torch.equal(changed.double().sum(), wide):
            break
    return changed


def _steps(
    subject: Subject, dims: Dims, dtype: str, seed: int, pairs: Sequence[tuple[str, str]], turn: int
) -> list[Step]:
    """The values at first, and after each change that moves the answer by enough to be seen.

    Args:
        turn: number of this sequence of changes; the same values, and what is right for them, serve every strategy.
    """
    current = subject.draw(dims, dtype, seed)
    donors = {way: subject.draw(dims, dtype, seed + 1000 * k) for k, way in enumerate(WAYS, 1)}
    chance = torch.Generator().manual_seed(seed)
    question = Question("stale", gradients_after)

    def answers(number: int, attempt: int, values: Values) -> tuple[Answer, Answer]:
        return subject.yardstick.answers(question, dims, dtype, (seed, turn, number, attempt), [values])

    steps = [Step("", "", current, *answers(0, 0, current))]
    for number, (name, way) in enumerate(pairs, 1):
        before = steps[-1]
        tries = _changed(_operands(before.values)[name], _operands(donors[way])[name], way, chance)
        for attempt, tensor in enumerate(tries):
            values = _with(before.values, name, tensor)
            try:
                step = Step(name, way, values, *answers(number, attempt, values))
            except UnsoundLayerError:  # which says of itself what it does not take
                continue
            if _moves(step, before, dtype):
                steps.append(step)
                break
    return steps


def gradients_after(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients, under a name of its own among what is remembered of the reference."""
    return gradients(strategy, dims, values)


def _ratio(mine: Tensor, name: str, step: Step, dtype: str) -> Pool:
    pool = Pool(getattr(torch, dtype))
    pool.add(mine.to(step.oracle[name].device), step.reference[name], step.oracle[name])
    return pool


def _moves(step: Step, before: Step, dtype: str) -> bool:
    """Tell whether answers to the values before would clearly be seen, in the output or in a gradient."""
    try:
        ratios = {n: _ratio(t, n, step, dtype).ratio() for n, t in before.oracle.items()}
    except UnusableYardstickError:
        return False
    return (max(ratios.values()) if step.operand == "cotangent" else ratios["output"]) >= CLEARLY


def stale(subject: Subject, dims: Dims, dtype: str, seed: int, few: bool, evaluate: bool) -> list[Check]:
    """Records of what was wrong after a change; one that all was right where nothing was.

    Args:
        few: change each operand in one way rather than in all, where calls are slow.
        evaluate: also ask for outputs without a graph.
    """
    names = [*subject.layer.operands, "cotangent"]
    turn = 1 + subject.claims.dtypes.index(dtype) if few else 0
    ways = {n: (WAYS[(k + turn) % len(WAYS)],) if few else WAYS for k, n in enumerate(names)}
    first, *steps = _steps(subject, dims, dtype, seed, [(n, way) for n in names for way in ways[n]], turn)
    if not steps:
        return [subject.check("stale", dtype, dims, "answer", "not_run", detail="no change moves the answer enough")]
    changes = [[s.operand, s.way] for s in steps]
    values = [first.values, *(s.values for s in steps)]
    answer = subject.asked.ask(after_changes, dims, values, changes=changes, evaluate=evaluate)
    wrong: list[Check] = []
    for number, (step, before) in enumerate(zip(steps, (first, *steps), strict=False), 1):
        wrong += _judge(subject, dims, dtype, seed, number, step, before, answer)
    return wrong or [subject.check("stale", dtype, dims, "answer", "ok", draws=len(steps), seed=seed)]


def _judge(
    subject: Subject, dims: Dims, dtype: str, seed: int, number: int, step: Step, before: Step, answer: Answer
) -> Iterator[Check]:
    """The first tensor that is wrong after a change, if any."""
    for key, mine in answer.items():
        place, name = key.split(" ", 1)
        if place != str(number):
            continue
        true = name.removesuffix(" without a graph")
        if mine.shape != step.oracle[true].shape:
            detail = f"shape is {tuple(mine.shape)}, not {tuple(step.oracle[true].shape)}"
            yield subject.check("stale", dtype, dims, name, "wrong", seed=seed, detail=detail)
            return
        pool, unmoved = (_ratio(t, true, step, dtype) for t in (mine, before.oracle[true]))
        if min(pool.ratio(), unmoved.ratio()) <= RETRY_BELOW or pool.error < SHARE * unmoved.error:
            continue
        kept = (mine.to(before.oracle[true].device).double() - before.oracle[true]).norm() < pool.error
        word = f"is still that of the values before: {ADVICE}" if kept else "is not that of the new values"
        yield subject.check(
            "stale", dtype, dims, name, "wrong", error=pool.error, bound=pool.bound, seed=seed,
            setting=f"{step.operand} changed {step.way}", detail=word,
        )  # fmt: skip
        return
