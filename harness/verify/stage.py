"""A stage of the gate, and those about stated sizes, values beside the draws, and kernels under a tuner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from harness.layers.spec import Dims
from harness.records.dims import dims_text
from harness.records.schema import Check, Group, Training
from harness.verify import checks, probes, special_values, wrapping
from harness.verify.judging import Subject, check_untouched, compare
from harness.verify.oracle import DRAWS
from harness.verify.reference import Question
from harness.verify.sizes import CHEAP_ELEMENTS, most_elements, stated_sizes, too_much
from harness.verify.staleness import stale
from harness.verify.tuners import by_configuration, first_call

Level = Literal["quick", "standard", "full"]
STATED: dict[Level, tuple[str, ...]] = {
    "quick": ("quick",), "standard": ("quick", "default"), "full": ("quick", "default", "full")
}  # fmt: skip
"""The profiles whose sizes are asked, measured or not."""
FEW_DRAWS = 2
"""Where a draw is large, or the question is one of shapes, layouts or order: what is wrong there is wrong by far more
than rounding, and in every draw."""
CONFIGURATIONS = 4
"""Of a tuned kernel, beside the first: all of few, some of many."""


@dataclass(frozen=True)
class Stage:
    """Something to check.

    Attributes:
        check: its name.
        text: what is being done, for the one who waits.
        run: does it; may raise StrategyError.
        dtype, dims: of the case, where it is but one.
        group: set where a size that is to be measured is checked.
        warm: whether what was compiled for the stage before serves this one, which asks at the same sizes.
    """

    check: str
    text: str
    run: Callable[[], Sequence[Check | Training]]
    dtype: str = ""
    dims: str = ""
    group: Group | None = None
    warm: bool = False


def asked(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int, draws: int = DRAWS) -> Stage:
    """A question at some sizes, in a dtype."""
    setting = f" {question.setting}" if question.setting else ""
    text = f"{question.check} {dtype} {dims_text(dict(dims))}{setting}"
    run = partial(compare, subject, question, dims, dtype, seed, draws)
    return Stage(question.check, text, run, dtype, dims_text(dict(dims)))


def once(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int) -> Stage:
    """A question that one draw answers, see ``checks.one_draw``."""
    stage = asked(subject, question, dims, dtype, seed)
    return replace(stage, run=partial(checks.one_draw, subject, question, dims, dtype, seed))


def beside_the_draws(subject: Subject, warm: Dims, dtype: str, seed: int) -> Iterator[Stage]:
    """Answers after operands have changed, and to special values.

    Args:
        warm: the size that was asked last: where each size compiles anew, it serves here.
    """
    first, *_, last = (subject.layer.check[0], *subject.layer.check)
    working, compiled = dtype == subject.claims.working_dtype, "compiler" in subject.claims.needs
    sizes = (warm,) if compiled else (first, last) if working and not subject.interpreted else (first,)
    for dims in sizes:
        run = partial(stale, subject, dims, dtype, seed, subject.interpreted, working or not compiled)
        text = dims_text(dict(dims))
        yield Stage("stale", f"stale {dtype} {text}", run, dtype, text, warm=compiled)
    few = compiled or subject.interpreted
    if working or (dtype == subject.claims.sharpest_dtype and not few):
        dims = sizes[0]
        run = partial(special_values.answered, subject, dims, dtype, seed, few)
        text = dims_text(dict(dims))
        yield Stage("special_values", f"special values {dtype} {text}", run, dtype, text, warm=compiled)


def stated(subject: Subject, seed: int, level: Level, sizes: Sequence[Group]) -> Iterator[Stage]:
    """Output and gradients at the sizes that the layer states to measure, as far as that is quick."""
    measured = {(g.dims, g.dtype) for g in sizes}
    working = subject.claims.working_dtype
    sizes_stated = stated_sizes(subject.layer, subject.device, STATED[level])
    for number, dims in enumerate(sizes_stated):
        text = dims_text(dict(dims))
        reason = too_much(subject.layer, dims, subject.device, subject.interpreted)
        if "compiler" in subject.claims.needs and number:
            reason = "each size compiles anew: it is asked where it is measured"
        if reason:
            if (text, working) not in measured:
                skip = partial(checks.not_run, subject, "values", dims, reason)
                yield Stage("values", f"values {text}", skip, working, text)
            continue
        cheap = most_elements(subject.layer, dims) <= CHEAP_ELEMENTS and "compiler" not in subject.claims.needs
        for dtype in subject.claims.dtypes if cheap and not subject.interpreted else (working,):
            if (text, dtype) not in measured:
                run = partial(checks.stated, subject, dims, dtype, seed)
                yield Stage("values", f"values {dtype} {text}", run, dtype, text)


def tuned(subject: Subject, seed: int) -> Iterator[Stage]:
    """Stages for kernels under a tuner: the first answer for a key, and the answers by other configurations."""
    dims, dtype, many = subject.layer.check[0], subject.claims.working_dtype, subject.claims.configurations
    if not many:
        return
    first = Question("values", first_call, probes.gradients, setting="first call of a tuned kernel")
    stage = asked(subject, first, dims, dtype, seed, FEW_DRAWS)
    yield replace(stage, run=partial(checks.first_call, subject, first, dims, dtype, seed, FEW_DRAWS))
    for number in sorted({round(k * (many - 1) / CONFIGURATIONS) for k in range(1, CONFIGURATIONS + 1)} - {0}):
        setting = f"configuration {number + 1} of {many}"
        other = Question("values", by_configuration, probes.gradients, setting=setting, options={"number": number})
        yield asked(subject, other, dims, dtype, seed, FEW_DRAWS)


def untouched(subject: Subject, seed: int) -> Stage:
    """Operands and cotangent, after a forward and a backward."""
    dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
    return Stage("untouched", "untouched", partial(check_untouched, subject, dims, dtype, seed))


def compiled_around(subject: Subject, dims: Dims, seed: int, level: Level) -> Iterator[Stage]:
    """``torch.compile`` around the strategy."""
    backend = "inductor" if level == "full" else "aot_eager"
    question = Question(
        "compile", wrapping.compile_around, probes.gradients_of_the_last, count=3, setting=backend, optional=True,
        options={"backend": backend},
    )  # fmt: skip
    for dtype in dict.fromkeys((subject.claims.sharpest_dtype, subject.claims.dtypes[-1])):
        run = partial(checks.compiles, subject, question, dims, dtype, seed)
        yield replace(asked(subject, question, dims, dtype, seed, 1), run=run)


def off_the_tape(subject: Subject, *checks: str) -> Iterator[Stage]:
    """Checks about ``.grad``, hooks and saved tensors say nothing of gradients that are values."""
    dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
    for check in checks:
        found = subject.check(
            check, dtype, dims, "answer", "not_applicable", detail="gradients don't go through the tape"
        )
        yield Stage(check, check, lambda found=found: [found])  # type: ignore[misc]


def numeric_derivatives(subject: Subject, seed: int) -> Iterator[Stage]:
    """Numeric derivatives, which need no reference."""
    if "float64" in subject.claims.dtypes:
        dims = subject.layer.check[1 if subject.interpreted else 0]
        yield Stage("gradcheck", "gradcheck", partial(checks.gradcheck, subject, dims, seed))
