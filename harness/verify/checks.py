"""Checks that are more than one comparison with the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims
from harness.records.dims import dims_of
from harness.records.schema import Check, Group, Training
from harness.verify import ensembles, placing, probes, state, watching, wrapping
from harness.verify.asking import Asked, StrategyError
from harness.verify.casts import words_of
from harness.verify.judging import Subject, compare, determinism, look, lost_terms
from harness.verify.oracle import DRAWS, Pool
from harness.verify.probes import Answer, Probe, WrongAnswerError
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError
from harness.verify.training import check_training

VALUES = Question("values", probes.gradients)
TUNED_IN_PLACE = (
    "the tuner runs the kernel several times before its first answer for a key, and it adds into what it has written:"
    " name that operand in reset_to_zero= (or restore_value=) of triton.autotune"
)
REPEATS = 10
STEADY = 0.01
"""Relative difference between two answers to the same values that no order of sums explains."""
MANY_ELEMENTS, FEW_DRAWS = 2**24, 2
"""Of so many elements a draw pools enough by itself, and moving eight between processes takes minutes."""


def values(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Output and gradients; of a wrong strategy also whether it answers otherwise to the same values."""
    found = compare(subject, VALUES, dims, dtype, seed)
    if all(c.result != "wrong" or c.error is None for c in found):
        return found
    random = _is_random(subject, dims, dtype, seed)
    said = "it answers otherwise to the same values: dropout, or another random draw"
    return [replace(c, detail=said) if random and c.result == "wrong" else c for c in found]


def first_call(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int, draws: int) -> list[Check]:
    """Values as tuners choose anew; where only that is wrong, it says what a tuner must be told."""
    found = compare(subject, question, dims, dtype, seed, draws)
    if all(c.result != "wrong" for c in found):
        return found
    later = compare(subject, VALUES, dims, dtype, seed, draws)
    if any(c.result == "wrong" for c in later):  # wrong whoever chooses
        return later
    return [replace(c, detail=TUNED_IN_PLACE) if c.result == "wrong" else c for c in found]


def _is_random(subject: Subject, dims: Dims, dtype: str, seed: int) -> bool:
    """Whether a strategy answers otherwise when it is asked again; one that then raises is not."""
    try:
        one, two = (subject.asked.ask(probes.gradients, dims, [subject.draw(dims, dtype, seed)]) for _ in range(2))
    except (WrongAnswerError, StrategyError):
        return False
    pairs = [(one[name].double(), two[name].double()) for name in one if name in two]
    return any(a.shape != b.shape or bool((a - b).norm() > STEADY * b.norm()) for a, b in pairs)


def size(subject: Subject, group: Group, seed: int) -> list[Check]:
    """Values at a size that is to be measured, with its number of threads."""
    torch.set_num_threads(group.threads)
    try:
        dims = dims_of(group.dims)
        most = max(math.prod(o.sizes(dims)) for o in subject.layer.operands.values())
        return compare(subject, VALUES, dims, group.dtype, seed, DRAWS if most <= MANY_ELEMENTS else FEW_DRAWS)
    finally:
        torch.set_num_threads(1)


def one_draw(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """One draw, since what is wrong at a size is so in every draw; all of them where that strays.

    In one draw a reference may be right by luck, by more than any factor that is final.
    """
    found = compare(subject, question, dims, dtype, seed, 1)
    strays = any(c.result == "wrong" and c.error is not None for c in found)
    return compare(subject, question, dims, dtype, seed + 1, DRAWS) if strays else found


def stated(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Values at a size that the layer states."""
    try:
        return one_draw(subject, replace(VALUES, setting="stated"), dims, dtype, seed)
    except (StrategyError, UnsoundLayerError) as error:
        if error.status == "oom":
            return not_run(subject, "values", dims, f"takes more memory than there is: {error}")
        raise


def launches(subject: Subject, dims: Dims, seed: int) -> list[Check]:
    """Every kernel that the strategy declares is really launched, in each pass that it is declared for."""
    dtype = subject.claims.working_dtype
    counts = subject.asked.ask(wrapping.kernel_launches, dims, [subject.draw(dims, dtype, seed)])
    return [
        subject.check(
            "launches", dtype, dims, name, "ok" if count else "wrong", seed=seed,
            detail=f"launched {int(count)} times",
        )
        for name, count in counts.items()
    ]  # fmt: skip


def returned(subject: Subject, dims: Dims, dtype: str, seed: int, wanted: tuple[str, ...]) -> list[Check]:
    """What hand-written backwards return, see ``watching.returned``."""
    return [look(subject, "backward_returns", watching.returned, dims, dtype, seed, wanted=wanted)]


def not_run(subject: Subject, check: str, dims: Dims, reason: str) -> list[Check]:
    """A check that this machine cannot do, and why."""
    return [subject.check(check, subject.claims.working_dtype, dims, "answer", "not_run", detail=reason)]


def repeats(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """The same values ten times: the same bits, or within noise, or drifting (which is wrong)."""
    values = subject.draw(dims, dtype, seed)
    reference, oracle = subject.yardstick.answers(VALUES, dims, dtype, (seed,), [values])
    try:
        stacked = subject.asked.ask(probes.repeated, dims, [values], times=REPEATS)
    except WrongAnswerError as wrong:
        return [subject.check("repeats", dtype, dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))]
    pools = {name: Pool(getattr(torch, dtype)) for name in stacked}
    for name, pool in pools.items():
        pool.add(reference[name], reference[name], oracle[name])
    repeated = determinism(stacked)
    far = {name: pool for name, pool in pools.items() if repeated[name][1] > pool.bound}
    sizes = lost_terms(subject, VALUES, dims, dtype, seed, far)
    records = []
    for name, (same, spread) in repeated.items():
        bound = pools[name].bound_for(sizes.get(name, pools[name].size))
        steady = spread <= bound
        word = "bitwise" if same else "within noise" if steady else "drifting"
        records.append(
            subject.check(
                "repeats", dtype, dims, name, "ok" if steady else "wrong", error=spread, bound=bound, seed=seed,
                draws=REPEATS, detail=word,
            )
        )  # fmt: skip
    return records


def dead_backward(subject: Subject, dims: Dims) -> list[Check]:
    """A module's own ``backward``, which autograd never calls."""
    dead = subject.claims.dead_backward
    detail = (
        "an nn.Module's `backward` is never called: put the gradient into a torch.autograd.Function" if dead else ""
    )
    dtype = subject.claims.working_dtype
    return [subject.check("dead_backward", dtype, dims, "module", "wrong" if dead else "ok", detail=detail)]


def global_state(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Check that global state is left alone; what an import has replaced that nothing rests on is named."""
    try:
        replaced = subject.asked.ask(state.left_alone, dims, [subject.draw(dims, dtype, seed)])
    except WrongAnswerError as wrong:
        return [subject.check("global_state", dtype, dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))]
    detail = f"changed by an import: {', '.join(sorted(replaced))}" if replaced else ""
    return [subject.check("global_state", dtype, dims, "behaviour", "ok", seed=seed, detail=detail)]


def far_apart(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Inputs whose rows lie far apart, where the machine grants the address range."""
    try:
        return compare(subject, Question("far_apart", placing.far_apart, probes.gradients), dims, dtype, seed, 1)
    except StrategyError as error:
        if error.status == "oom":
            return not_run(subject, "far_apart", dims, f"this machine grants no such address range: {error}")
        raise


def compiles(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Right under ``torch.compile``, and compiled once: what is compiled at each call is not offered to it."""
    kept = _Kept(subject.asked)
    found = compare(replace(subject, asked=kept), question, dims, dtype, seed, 1)
    if kept.answer.get(wrapping.AGAIN) and all(c.result == "ok" for c in found):
        why = "compiled again at each call, for tensors that differ in numbers only: it reads something that changes"
        return [replace(found[0], tensor="torch.compile", result="limited", detail=why)]
    return found


@dataclass
class _Kept:
    """Asks somebody, and keeps the last answer."""

    asked: Asked
    answer: Answer = field(default_factory=dict)

    def ask(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> Answer:
        """See ``Asked``."""
        self.answer = self.asked.ask(probe, dims, values, **options)
        return self.answer


def gradcheck(subject: Subject, dims: Dims, seed: int) -> list[Check]:
    """Derivatives by differences, which mean nothing where the layer computes in a narrower dtype inside.

    A gradient by definition is not held against them; one that must be one, since the output is flat, is shown.
    """
    if subject.layer.gradient == "by definition":
        why = "the layer's gradient is given by definition, and no derivative of its forward"
        return [subject.check("gradcheck", "float64", dims, "all gradients", "not_applicable", detail=why)]
    subject.yardstick.answers(VALUES, dims, "float64", (seed,), [subject.draw(dims, "float64", seed)])
    if casts := subject.yardstick.casts:
        detail = f"{words_of(casts)}, and differences of what is rounded so are no derivatives"
        return [subject.check("gradcheck", "float64", dims, "all gradients", "not_run", detail=detail)]
    try:
        flat = subject.asked.ask(wrapping.gradcheck, dims, [subject.draw(dims, "float64", seed)])
    except WrongAnswerError as wrong:
        return [subject.check("gradcheck", "float64", dims, wrong.tensor, "wrong", seed=seed, detail=str(wrong))]
    why = 'the output does not change by small steps of it, so this is a definition: say gradient="by definition"'
    return [
        subject.check("gradcheck", "float64", dims, f"gradient of {name}", "limited", seed=seed, detail=why)
        for name in flat
    ] or [subject.check("gradcheck", "float64", dims, "behaviour", "ok", seed=seed)]


def tangent_through_vmap(subject: Subject, dims: Dims, dtype: str, seed: int) -> list[Check]:
    """Forward AD of ``vmap``, where forward AD is offered at all."""
    alone = Question("forward_ad", probes.forward_ad, count=2, optional=True)
    if any(c.result == "limited" for c in compare(subject, alone, dims, dtype, seed, 1)):
        detail = "forward AD is not offered"
        return [subject.check("through_vmap", dtype, dims, "answer", "not_applicable", detail=detail)]
    question = Question(
        "through_vmap", ensembles.tangent_through_vmap, ensembles.tangents_in_a_loop, count=4, optional=True,
        setting="forward AD of an ensemble",
    )  # fmt: skip
    return compare(subject, question, dims, dtype, seed, 1)


def many_elements(subject: Subject, seed: int) -> list[Check]:
    """More than 2³¹ elements in one tensor; takes a GPU with room for eight of them in the narrowest dtype."""
    layer, dims = subject.layer, subject.layer.check[0]
    dtype = subject.claims.dtypes[-1]
    if subject.device != "cuda" or not layer.leading:
        return not_run(
            subject, "many_elements", dims, "takes a GPU" if layer.leading else "the layer has no leading dim"
        )
    wide = max(torch.Size(o.sizes(dims)[1:]).numel() for o in layer.leading_inputs.values())
    rows = 2**31 // wide + dims[layer.leading]
    needed, free = 8 * rows * wide * torch.finfo(getattr(torch, dtype)).bits // 8, torch.cuda.mem_get_info()[0]
    if free < needed:
        return not_run(
            subject, "many_elements", dims, f"takes {needed / 1e9:.0f} GB of GPU memory, {free / 1e9:.0f} are free"
        )
    question = Question(
        "many_elements", placing.tail, placing.rows_alone, options={"rows": rows}, truth_options={"layer": layer},
        optional=True,
    )  # fmt: skip
    try:
        return compare(subject, question, dims, dtype, seed, 1)
    except StrategyError as error:
        if error.status == "oom":
            return not_run(subject, "many_elements", dims, f"takes more GPU memory than there is: {error}")
        raise


def training(subject: Subject, dtype: str, seed: int, starts: int) -> list[Check] | list[Training]:
    """Training on the layer's task, where it has one."""
    if subject.layer.task is None:
        dims = subject.layer.check[0]
        return [subject.check("training", dtype, dims, "loss", "not_applicable", detail="the layer has no task")]
    return [check_training(subject, dtype, seed, starts)]
