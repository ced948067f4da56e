"""Defects of PyTorch itself that a strategy cannot mend: each with its smallest reproducer, run on the torch at hand.

A wrong answer is laid at PyTorch's door only where the reproducer fails too, here and now, and the answer is wrong in
just the way that the defect explains. It stays ``wrong`` in the records and tables, and bears the defect's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from harness.layers.drawing import Values
from harness.layers.gradients import build, vjp
from harness.layers.spec import Dims, Strategy
from harness.records.schema import Check
from harness.verify import derivatives
from harness.verify.judging import Subject, compare
from harness.verify.probes import Answer, Probe, differentiable, gradients, leaves, named
from harness.verify.reference import Question


@cache
def compile_drops_the_second_derivative() -> bool:
    """Whether ``autograd.grad`` of a penalty on a compiled product's gradient loses the penalty without a word.

    AOTAutograd hangs the error that it wants to raise on a node of its own, which ``autograd.grad`` never visits (see
    pytorch#181606); ``.backward()`` raises. Here 10 becomes 2 (torch 2.13).
    """
    x, w = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
    compiled = torch.compile(torch.mm, backend="aot_eager")
    (slope,) = torch.autograd.grad(compiled(x, w).sum(), x, create_graph=True)
    try:
        (found,) = torch.autograd.grad(compiled(x, w).sum() + slope.square().sum(), w)
    except RuntimeError:
        return False
    return found[0, 0].item() == 2.0


@cache
def compile_misses_an_update() -> bool:
    """Whether a compiled backward takes a weight that was overwritten after the forward, where eager raises.

    Inductor saves the transposed weight as a view with a version counter of its own. Here 2 becomes 10 (torch 2.13);
    the backend ``aot_eager`` raises as eager does.
    """
    x, w = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
    output = torch.compile(torch.mm)(x, w)
    with torch.no_grad():
        w.mul_(5)
    try:
        (found,) = torch.autograd.grad(output.sum(), x)
    except RuntimeError:
        return False
    return found[0, 0].item() == 10.0


class _Sums(torch.autograd.Function):
    """(Σ_rows x) · w, whose backward may put the gradient of w where the column sums were."""

    @staticmethod
    def forward(ctx, x, w):  # type: ignore[no-untyped-def]
        sums = x.sum(0)
        ctx.save_for_backward(sums, w)
        return torch.dot(sums, w)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        sums, w = ctx.saved_tensors
        return (g * w).expand(7, 13), g * sums


@cache
def a_cached_backward_writes_over_what_is_kept() -> bool:
    """Whether a compiled backward from Inductor's cache writes over what a second walk along the graph needs.

    One that was compiled for a plain backward may use the saved buffers for its results; one that is compiled while
    the graph is retained does not. The cache's key does not tell them apart. Here 14 becomes 28 (torch 2.13).
    """
    from torch._inductor.utils import fresh_cache

    x, w = torch.ones(7, 13, requires_grad=True), torch.ones(13, requires_grad=True)
    compiled = torch.compile(lambda x, w: _Sums.apply(x, w), fullgraph=True, dynamic=False)
    two = torch.tensor(2.0)
    with fresh_cache():
        torch.autograd.grad(compiled(x, w), w, two)
        torch.compiler.reset()
        output = compiled(x, w)
        try:
            torch.autograd.grad(output, w, two, retain_graph=True)
            (found,) = torch.autograd.grad(output, w, two)
        except RuntimeError:
            return False
        finally:
            torch.compiler.reset()
    return found[0].item() == 28.0


def first_order(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Gradients without the penalty: what is left where the second derivative is dropped."""
    return {name: t for name, t in gradients(strategy, dims, values).items() if name != "output"}


def with_an_unseen_update(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The first draw's output, and gradients by a backward that finds the second draw's parameters where it kept them.

    What the forward has made of the old parameters stays as it was.
    """
    before, after = values
    instance = build(strategy, dims, before.parameters)
    inputs = leaves(before)
    output, pullback = vjp(instance, inputs)
    for name, parameter in instance.parameters.items():
        parameter.data.copy_(after.parameters[name])  # ``data`` has a version counter of its own
    found = pullback(before.cotangent)
    return {"output": output.detach()} | named([*differentiable(inputs), *instance.parameters], found)


def made_graphs(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """How many graphs ``torch.compile`` makes for a call and its backward."""
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    before = counters["stats"]["unique_graphs"]
    gradients(strategy, dims, values)
    torch.compiler.reset()  # what is asked next finds nothing compiled, as before
    return {"graphs": torch.tensor(counters["stats"]["unique_graphs"] - before)}


@dataclass(frozen=True)
class Defect:
    """Something wrong in PyTorch: where it shows, whether it is there, and what a strategy answers because of it.

    Attributes:
        explains: what the reference answers where it does just that; None where that cannot be told.
        avoids: the same question to the strategy, with the defect kept out of the way: it is right then.
    """

    name: str
    check: str
    reproduces: Callable[[], bool]
    explains: Probe | None = None
    avoids: Probe | None = None


DEFECTS = (
    Defect(
        "torch.compile: autograd.grad drops second derivatives",
        "double_backward",
        compile_drops_the_second_derivative,
        first_order,
    ),
    Defect(
        "torch.compile: inductor misses an update between forward and backward",
        "updated_between",
        compile_misses_an_update,
        with_an_unseen_update,
    ),
    Defect(
        "torch.compile: a cached backward writes over what a retained graph keeps",
        "walked_twice",
        a_cached_backward_writes_over_what_is_kept,
        avoids=derivatives.walked_twice,
    ),
)


def attribute(subject: Subject, question: Question, dims: Dims, dtype: str, found: list[Check]) -> list[Check]:
    """Name the upstream defect behind wrong answers, where it is that and nothing else.

    A strategy that says that it needs a compiler must use it.
    """
    if "compiler" not in subject.claims.needs or not any(c.result == "wrong" for c in found):
        return found
    if not subject.asked.ask(made_graphs, dims, [subject.draw(dims, dtype, found[0].seed)])["graphs"].item():
        return found
    for defect in DEFECTS:
        if defect.check != question.check or not defect.reproduces():
            continue
        if defect.explains is not None:
            explained = replace(question, truth=defect.explains, truth_options={})
        else:
            assert defect.avoids is not None
            explained = replace(question, probe=defect.avoids)
        answers = compare(subject, explained, dims, dtype, found[0].seed, found[0].draws)
        if all(c.result == "ok" for c in answers):
            return [replace(c, upstream=defect.name) if c.result == "wrong" else c for c in found]
    return found
