"""Everything that the gate checks of a strategy, in order: cheap and telling first.

Each stage has the name of its check, so that one can be run alone. ``quick`` holds what finds wrong numbers;
``standard`` adds what a strategy can be combined with and how it behaves; ``full`` searches longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product

from harness.layers.spec import Dims
from harness.records.dims import dims_text
from harness.records.schema import Check, Group
from harness.verify import (
    arranging,
    checks,
    derivatives,
    ensembles,
    placing,
    probes,
    upstream,
    watching,
    wrapping,
)
from harness.verify.causality import causality
from harness.verify.declared import within_limits
from harness.verify.judging import Subject, compare, look
from harness.verify.oracle import DRAWS
from harness.verify.reference import Question, as_given
from harness.verify.search import search
from harness.verify.sizes import (
    LONG,
    LONG_IN_FULL,
    LONG_IN_FULL_INTERPRETED,
    LONG_INTERPRETED,
    TURN_ELEMENTS,
    all_aligned,
    each_option,
    few_rows,
    many_rows,
    many_tiles,
    one_long,
    turns,
)
from harness.verify.stage import (
    FEW_DRAWS,
    Level,
    Stage,
    asked,
    beside_the_draws,
    compiled_around,
    numeric_derivatives,
    off_the_tape,
    once,
    stated,
    tuned,
    untouched,
)
from harness.verify.training import FEWEST_STARTS

LEVELS: tuple[Level, ...] = ("quick", "standard", "full")
FEW_OPERANDS = 6
STEPS, FEW_STEPS = 8, 4
SHAPES, SHAPES_INTERPRETED = {"quick": 0, "standard": 6, "full": 20}, {"quick": 0, "standard": 2, "full": 20}


def stages(subject: Subject, seed: int, level: Level = "standard", sizes: Sequence[Group] = ()) -> Iterator[Stage]:
    """All stages of a level for a strategy, within the limits that it declares.

    Args:
        sizes: groups that are to be measured, whose sizes are checked too.
    """
    for stage in _stages(subject, seed, level, sizes):
        yield replace(stage, run=partial(within_limits, subject, stage.check, stage.run))


def _stages(subject: Subject, seed: int, level: Level, sizes: Sequence[Group]) -> Iterator[Stage]:
    yield from _numbers(subject, seed, sizes)
    yield from stated(subject, seed, level, sizes)
    yield from _use(subject, seed)
    yield from _behaviour(subject, seed)
    yield from _transforms(subject, seed, level)
    if level != "quick":
        yield from _shapes(subject, seed, level)
        yield Stage("many_elements", "more than 2³¹ elements", partial(checks.many_elements, subject, seed))
        yield from numeric_derivatives(subject, seed)
    if level == "full" and "compiler" not in subject.claims.needs:
        yield Stage("search", "searching for a failing example", partial(search, subject, seed))
    few = 1 if level == "quick" else FEWEST_STARTS
    starts = few if subject.interpreted else DRAWS
    working = subject.claims.working_dtype
    narrow = [d for d in subject.claims.dtypes if d not in ("float64", working)]
    more = narrow if level == "full" or (level == "standard" and not subject.interpreted) else []
    for dtype in (working, *more):
        yield Stage("training", f"training {dtype}", partial(checks.training, subject, dtype, seed, starts), dtype)


def _attributed(subject: Subject, question: Question, dims: Dims, dtype: str, seed: int, draws: int) -> Stage:
    """A question whose wrong answer may be PyTorch's."""
    stage = asked(subject, question, dims, dtype, seed, draws)

    def run() -> list[Check]:
        return upstream.attribute(subject, question, dims, dtype, compare(subject, question, dims, dtype, seed, draws))

    return replace(stage, run=run)


def _looked(
    subject: Subject, check: str, probe: probes.Probe, dims: Dims, dtype: str, seed: int, **options: object
) -> Stage:
    return Stage(check, check, lambda: [look(subject, check, probe, dims, dtype, seed, **options)])


def _numbers(subject: Subject, seed: int, sizes: Sequence[Group]) -> Iterator[Stage]:
    """Output and gradients, in every dtype that is claimed, at odd sizes and at those to be measured."""
    check, compiled = subject.layer.check, "compiler" in subject.claims.needs
    yield from tuned(subject, seed)
    for dtype in subject.claims.dtypes:
        for dims in each_option(subject.layer) if dtype == "float64" else check:
            stage = asked(subject, checks.VALUES, dims, dtype, seed)
            yield replace(stage, run=partial(checks.values, subject, dims, dtype, seed))
        if dtype == subject.claims.dtypes[0] and not compiled:  # what is written over looks stale too
            yield untouched(subject, seed)
        yield from beside_the_draws(subject, dims, dtype, seed)
    if compiled:
        yield untouched(subject, seed)
    if subject.claims.kernels:
        yield Stage("launches", "launches", partial(checks.launches, subject, check[0], seed))
    for group in sizes:
        if group.dtype in subject.claims.dtypes:
            run = partial(checks.size, subject, group, seed)
            yield Stage("values", f"values of {group}", run, group.dtype, group.dims, group)


def _use(subject: Subject, seed: int) -> Iterator[Stage]:
    """What a training loop does with a layer: other cotangents, accumulation, updates, frozen operands."""
    dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
    compiled = "compiler" in subject.claims.needs
    # a kernel may serve one dtype or option and plain ops the other: each is asked, where none compiles anew
    dtypes = (dtype,) if compiled else tuple(dict.fromkeys((dtype, subject.claims.working_dtype)))
    options = each_option(subject.layer)
    for check, arrangements, draws in (
        ("cotangents", arranging.COTANGENTS[:1] if compiled else arranging.COTANGENTS, FEW_DRAWS),
        ("layouts", arranging.LAYOUTS[:1] if compiled else arranging.LAYOUTS, FEW_DRAWS),
        ("magnitudes", () if compiled else arranging.MAGNITUDES, DRAWS),
    ):
        for arrange in arrangements:
            question = Question(check, probes.gradients, arrange=arrange, setting=_words(arrange), optional=True)
            if check == "magnitudes":
                yield asked(subject, replace(question, grows=arranging.GROWS), dims, dtype, seed, draws)
                continue
            for at, each in product(options[:1] if compiled else options, dtypes):
                yield asked(subject, question, at, each, seed, draws)
    pair = Question("side_by_side", probes.side_by_side, probes.gradients_of_the_first, count=2)
    yield asked(subject, pair, dims, dtype, seed, FEW_DRAWS)
    one = replace(pair, probe=probes.kept, setting="one after the other")
    yield asked(subject, one, dims, dtype, seed, FEW_DRAWS)
    updated = Question("updated", probes.updated, probes.gradients_of_the_last, count=2)
    yield asked(subject, updated, dims, dtype, seed, FEW_DRAWS)
    if subject.claims.gradients == "tape":
        between = Question(
            "updated_between", probes.updated_between, probes.gradients_of_the_first, count=2, may_refuse=True
        )
        yield _attributed(subject, between, dims, dtype, seed, FEW_DRAWS)
        again = Question("walked_twice", probes.walked_twice, probes.gradients, optional=True)
        yield _attributed(subject, again, dims, dtype, seed, FEW_DRAWS)
        yield asked(subject, Question("accumulation", probes.accumulated, count=3), dims, dtype, seed, FEW_DRAWS)
    else:
        yield from off_the_tape(subject, "updated_between", "walked_twice", "accumulation")
    operands = [n for n, o in subject.layer.operands.items() if o.differentiable]
    alone = Question("frozen", probes.without_gradients, probes.output_alone, setting="without a graph")
    for at, each in product(options, dtypes):
        yield asked(subject, alone, at, each, seed, FEW_DRAWS)
    for at, wanted in product(options, _masks(operands, compiled)):
        masked = {"wanted": wanted}
        setting = f"for {', '.join(wanted) or 'nothing'}"
        frozen = Question("frozen", probes.frozen, setting=setting, options=masked, truth_options=masked)
        for each in dtypes:
            yield asked(subject, frozen, at, each, seed, FEW_DRAWS)
        if wanted and subject.claims.gradients == "tape":
            yield Stage(
                "backward_returns",
                f"what backward returns {setting}",
                partial(checks.returned, subject, at, dtype, seed, wanted),
            )


def _words(function: Callable[..., object]) -> str:
    return function.__name__.replace("_", " ")


def _masks(names: list[str], few: bool) -> list[tuple[str, ...]]:
    """All subsets of few operands; of many none, each alone, all but each, and all. Where each compiles anew, fewer."""
    count = len(names)
    sizes = {0, 1, count}
    if not few:
        sizes |= {*range(count)} if count <= FEW_OPERANDS else {count - 1}
    return [chosen for n in sorted(sizes) for chosen in combinations(names, n)]


def _behaviour(subject: Subject, seed: int) -> Iterator[Stage]:
    """Memory, order, threads, and what a module defines for nothing."""
    dims, dtype = subject.layer.check[0], subject.claims.working_dtype
    tape, compiled = subject.claims.gradients == "tape", "compiler" in subject.claims.needs
    in_order = compiled or subject.interpreted  # what may differ from time to time differs at any size
    for size in (dims,) if in_order else (dims, subject.layer.check[-1]):
        yield Stage("repeats", "repeats", partial(checks.repeats, subject, size, dtype, seed))
    if subject.interpreted and subject.claims.kernels:
        unseen = "Triton's interpreter runs a kernel's programs one after the other; on a GPU the repeats show them"
        yield Stage("races", "races", partial(checks.not_run, subject, "races", dims, unseen))
    yield Stage("dead_backward", "dead backward", partial(checks.dead_backward, subject, dims))
    if tape:
        yield _looked(subject, "context", watching.context, dims, dtype, seed)
        yield _looked(subject, "released", watching.released, dims, dtype, seed)
    yield Stage("global_state", "global state", partial(checks.global_state, subject, dims, dtype, seed))
    steps = FEW_STEPS if subject.interpreted else STEPS
    yield _looked(subject, "steady_memory", watching.steady, dims, dtype, seed, steps=steps)
    yield asked(subject, Question("settled", watching.settled, probes.gradients), dims, dtype, seed, FEW_DRAWS)
    if not compiled:  # a compiler allocates by itself
        for dims in (subject.layer.check[0], subject.layer.check[-1]):
            yield asked(subject, Question("guarded", placing.guarded, probes.gradients), dims, dtype, seed, FEW_DRAWS)
        yield Stage("far_apart", "far apart", partial(checks.far_apart, subject, subject.layer.check[0], dtype, seed))
    first, *rest = subject.layer.check
    for dims in (first, *([] if compiled else rest[-1:])) if subject.layer.causal else ():
        if dims[subject.layer.causal] > 1:
            text, at = f"causality {dims_text(dict(dims))}", dims_text(dict(dims))
            yield Stage("causality", text, partial(causality, subject, dims, dtype, seed), dtype, at)


def _shapes(subject: Subject, seed: int, level: Level) -> Iterator[Stage]:
    """Random, small, aligned, empty, long and split shapes."""
    layer, dtype = subject.layer, subject.claims.working_dtype
    other = Question("shapes", probes.gradients, optional=True)
    if "compiler" in subject.claims.needs:
        for dims in all_aligned(layer, subject.interpreted)[-1:]:
            yield once(subject, replace(other, setting="aligned"), dims, dtype, seed)
        reason = "each size compiles anew: no random, small or other aligned ones are asked"
        yield Stage("shapes", "shapes", partial(checks.not_run, subject, "shapes", layer.check[0], reason))
    else:
        for number in range((SHAPES_INTERPRETED if subject.interpreted else SHAPES)[level]):
            name = f"{subject.layer_name} {seed} {number}"
            chosen = arranging.random_dims(layer, name, 4_000 if subject.interpreted else 40_000)
            if chosen is not None:
                yield asked(subject, Question("shapes", probes.gradients), chosen, dtype, seed, FEW_DRAWS)
        for dims, each, setting in turns(layer, subject.claims.dtypes, dtype, subject.interpreted):
            yield once(subject, replace(other, setting=setting), dims, each, seed)
    if not layer.leading:
        return
    if subject.claims.kernels:
        many = Question("shapes", probes.gradients, setting="many tiles")
        for dims in many_tiles(layer):
            yield asked(subject, many, dims, dtype, seed, 1)
        for dims, arrange in product(one_long(layer), (as_given, arranging.strided)):
            setting = f"one long dim, {_words(arrange)}"
            yield asked(subject, replace(many, setting=setting, arrange=arrange, optional=True), dims, dtype, seed, 1)
        mapped = Question("per_sample", probes.per_sample, probes.per_sample_in_a_loop, count=2, optional=True)
        options = {"ensemble": False}
        mapped = replace(mapped, setting="many tiles", options=options, truth_options=options)
        for dims in [*many_tiles(layer), *one_long(layer)][:1]:
            yield asked(subject, mapped, dims, dtype, seed, 1)
    dims = {**layer.check[0], layer.leading: 0}
    yield asked(subject, Question("empty", probes.gradients, optional=True), dims, dtype, seed, 1)
    dims = {**layer.check[0], layer.leading: arranging.SPLIT[0] * arranging.SPLIT[1]}
    split = arranging.split_leading(layer)
    question = Question("leading_dims", probes.gradients, arrange=split, split=True, optional=True)
    yield asked(subject, question, dims, subject.claims.sharpest_dtype, seed, FEW_DRAWS)
    if "float32" in subject.claims.dtypes:
        # a chain of float32 sums strays by more than plain autograd's halves; what a block leaves out, by far more
        rows = Question("long", probes.gradients, eps="float16", setting="thousands of rows", optional=True)
        most = LONG_IN_FULL_INTERPRETED if subject.interpreted else TURN_ELEMENTS
        yield once(subject, rows, many_rows(layer, LONG_IN_FULL, most), "float32", seed)
    rest = math.prod(layer.check[0][n] for n in layer.output if n != layer.leading)
    dims = {**layer.check[0], layer.leading: LONG_INTERPRETED // rest if subject.interpreted else LONG}
    for dtype in subject.claims.dtypes:
        if dtype in ("bfloat16", "float16"):
            for arrange in (arranging.positive,) if subject.interpreted else (as_given, arranging.positive):
                question = Question("long", probes.gradients, arrange=arrange, setting=_words(arrange))
                yield asked(subject, question, dims, dtype, seed, 1 if subject.interpreted else FEW_DRAWS)


def _transforms(subject: Subject, seed: int, level: Level) -> Iterator[Stage]:
    """What a strategy can be combined with: each is ok, wrong, or a clean error."""
    dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
    tape, compiled = subject.claims.gradients == "tape", "compiler" in subject.claims.needs
    question = partial(Question, optional=True)
    for at, live in product(each_option(subject.layer), (False, True)):
        options = {"live": live}
        setting = "cotangent with a gradient" if live else "constant cotangent"
        second = question(
            "double_backward", derivatives.second_order, setting=setting, options=options, truth_options=options
        )
        yield _attributed(subject, second, at, dtype, seed, FEW_DRAWS)
    if level == "quick":
        return
    if tape and not compiled:
        yield asked(subject, question("third_order", derivatives.third_order), dims, dtype, seed, FEW_DRAWS)
    yield asked(subject, question("forward_ad", probes.forward_ad, count=2), dims, dtype, seed, FEW_DRAWS)
    yield asked(subject, question("func_grad", probes.func_grad, probes.gradients), dims, dtype, seed, FEW_DRAWS)
    sample = question("per_sample", probes.per_sample, probes.per_sample_in_a_loop, count=3)
    for setting, ensemble in (("shared parameters", False), ("an ensemble", True)):
        options = {"ensemble": ensemble}
        mapped = replace(sample, setting=setting, options=options, truth_options=options)
        yield asked(subject, mapped, dims, dtype, seed, FEW_DRAWS)
    outside = question("through_vmap", ensembles.through_vmap, ensembles.in_a_loop, count=3)
    ways = ((False, tape), (True, tape), (False, False))[: 1 if compiled else 3 if tape else 2]
    for shared, on_tape in ways:
        truth_options = {"shared": shared}
        setting = f"{'backward' if on_tape else 'func.grad'} of {'shared parameters' if shared else 'an ensemble'}"
        mapped = replace(
            outside, setting=setting, options={"shared": shared, "tape": on_tape}, truth_options=truth_options
        )
        yield asked(subject, mapped, dims, dtype, seed, FEW_DRAWS)
    if not compiled:
        tangent = partial(checks.tangent_through_vmap, subject, dims, dtype, seed)
        yield Stage("through_vmap", "forward AD through vmap", tangent, dtype, dims_text(dict(dims)))
    jacobian = question("jacrev", probes.jacobian, probes.jacobian_by_rows)
    yield asked(subject, jacobian, few_rows(subject.layer) if subject.interpreted else dims, dtype, seed, 1)
    yield from compiled_around(subject, dims, seed, level)
    if not compiled:
        for each in dict.fromkeys((dtype, subject.claims.dtypes[-1])):
            yield asked(subject, Question("described", wrapping.described, probes.gradients), dims, each, seed, 1)
        for wanted in _masks([n for n, o in subject.layer.operands.items() if o.differentiable], few=True):
            masked = {"wanted": wanted}
            setting = f"for {', '.join(wanted) or 'nothing'}"
            alone = Question(
                "described", wrapping.described_frozen, probes.frozen, setting=setting, options=masked,
                truth_options=masked,
            )  # fmt: skip
            yield asked(subject, alone, dims, dtype, seed, 1)
    if "float32" in subject.claims.dtypes:
        for mixed in (False, True):
            options = {"mixed": mixed}
            setting = "inputs in bfloat16" if mixed else "inputs in float32"
            cast = question(
                "autocast", wrapping.autocast, probes.gradients, wrapping.autocast, eps="bfloat16", setting=setting
            )
            yield asked(subject, replace(cast, options=options, peer_options=options), dims, "float32", seed)
    if not tape:
        yield from off_the_tape(subject, "checkpoint", "copies")
        return
    recomputed = question("checkpoint", wrapping.checkpointed, probes.gradients)
    yield asked(subject, recomputed, dims, dtype, seed, FEW_DRAWS)
    copies = question("copies", wrapping.copied, probes.gradients_of_the_first, count=2)
    yield asked(subject, copies, dims, dtype, seed, 1 if compiled else FEW_DRAWS)
