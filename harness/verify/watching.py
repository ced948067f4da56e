"""Probes that look at how a strategy behaves rather than at its numbers: memory, buffers, threads, global state.

What cannot be seen from tensors is said by ``WrongAnswerError``. Functions of autograd are looked at through the graph
that a forward leaves: their nodes, what is kept on ``ctx``, and what a backward really returns before the engine has
trimmed it.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from harness.layers.drawing import Values
from harness.layers.gradients import build, vjp
from harness.layers.spec import Dims, Strategy
from harness.verify.probes import Answer, WrongAnswerError, gradients, leaves
from harness.verify.wasteful import WastefulError

SETTLING_SECONDS = 0.05
CALLS = 3
"""After each of which new threads are looked for."""


def _functions(output: Tensor) -> list[Any]:
    """The nodes of hand-written Functions in the graph of an output; torch's own are left out."""
    found: list[Any] = []
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [n for n, _ in node.next_functions]
        if isinstance(node, BackwardCFunction) and not type(node)._forward_cls.__module__.startswith("torch."):
            found.append(node)
    return found


def _tensors(kept: Any) -> Iterator[Tensor]:
    if isinstance(kept, Tensor):
        yield kept
    elif isinstance(kept, dict):
        for value in kept.values():
            yield from _tensors(value)
    elif isinstance(kept, (list, tuple, set)):
        for value in kept:
            yield from _tensors(value)
    elif hasattr(kept, "__dict__") and not isinstance(kept, type | ModuleType):
        yield from _tensors(vars(kept))


def context(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """No tensor hangs on ``ctx`` as an attribute: there hooks that offload what is saved do not see it.

    It escapes the version counter too, and is stale after an update: that is asked by ``probes.updated_between``.

    Raises:
        WastefulError: one does.
    """
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    output = instance.call(instance.parameters, leaves(mine))
    for node in _functions(output):
        for name, kept in vars(node).items():
            if any(True for _ in _tensors(kept)):
                function = type(node)._forward_cls.__name__
                raise WastefulError(f"ctx.{name} of {function}", "a tensor that save_for_backward should keep")
    return {}


def returned(strategy: Strategy, dims: Dims, values: Sequence[Values], wanted: Sequence[str]) -> Answer:
    """What hand-written backwards return has its input's shape, and is None for what is frozen.

    Raises:
        WrongAnswerError: another shape, which autograd would sum.
        WastefulError: a gradient that nobody asked for, which autograd drops.
    """
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = {n: x.detach().requires_grad_(n in wanted) for n, x in mine.inputs.items()}
    for name, parameter in instance.parameters.items():
        parameter.requires_grad_(name in wanted)
    output = instance.call(instance.parameters, inputs)
    wrong: list[str] = []
    unasked: list[str] = []
    with _listening(_functions(output), wrong, unasked):
        operands = {**inputs, **instance.parameters}
        torch.autograd.grad(output, [operands[n] for n in wanted], mine.cotangent, allow_unused=True)
    if wrong:
        raise WrongAnswerError("what backward returns", wrong[0])
    if unasked:
        raise WastefulError("what backward returns", unasked[0])
    return {}


@contextmanager
def _listening(nodes: Sequence[Any], wrong: list[str], unasked: list[str]) -> Iterator[None]:
    """Look at what each node's ``backward`` returns; autograd itself would sum or drop it in silence.

    Args:
        wrong: gets a line for each gradient of another shape, ``unasked``: for each of an operand that is frozen.
    """
    shapes = {id(n): [tuple(f._input_metadata[k].shape) for f, k in n.next_functions if f is not None] for n in nodes}
    classes = {type(node)._forward_cls for node in nodes}
    originals = {cls: cls.__dict__.get("backward") for cls in classes}

    def listen(cls: Any) -> Any:
        plain = cls.backward

        def backward(ctx: Any, *cotangents: Any) -> Any:
            answer = plain(ctx, *cotangents)
            given = answer if isinstance(answer, tuple) else (answer,)
            needed = ctx.needs_input_grad
            wanted = shapes.get(id(ctx), [])
            for position, (g, need) in enumerate(zip(given, needed, strict=False)):
                if isinstance(g, Tensor) and not need:
                    unasked.append(f"{cls.__name__}: a gradient of argument {position}, which is frozen")
            pairs = [g for g, need in zip(given, needed, strict=False) if need]
            for g, shape in zip(pairs, wanted, strict=False):
                if isinstance(g, Tensor) and tuple(g.shape) != shape:
                    wrong.append(f"{cls.__name__}: a gradient of shape {tuple(g.shape)} for an argument of {shape}")
            return answer

        return staticmethod(backward)

    for cls in classes:
        cls.backward = listen(cls)
    try:
        yield
    finally:
        for cls, original in originals.items():
            if original is None:
                del cls.backward
            else:
                cls.backward = original


def released(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """An output that nobody holds dies at once, without the garbage collector."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    for _ in range(2):  # what is kept once, as a cache, is not a leak
        vjp(instance, leaves(mine))[1](mine.cotangent)
    gc.collect()
    gc.disable()
    try:
        output = instance.call(instance.parameters, leaves(mine))
        reference = weakref.ref(output)
        del output
        if reference() is not None:
            raise WrongAnswerError("output", "is kept alive by its own graph (a reference cycle through ctx)")
    finally:
        gc.enable()
    return {}


def steady(strategy: Strategy, dims: Dims, values: Sequence[Values], steps: int) -> Answer:
    """The number of live tensors, and of tensors saved for a backward, does not grow with the steps."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine)
    saved: weakref.WeakSet[_Held] = weakref.WeakSet()

    def hold(tensor: Tensor) -> _Held:
        held = _Held(tensor.detach())  # an output that is saved would hold its own graph
        saved.add(held)
        return held

    def step() -> None:
        if instance.gradients == "func":  # saved-tensor hooks are refused under torch.func
            vjp(instance, inputs)[1](mine.cotangent)
            return
        if "torch._inductor.cudagraph_trees" in sys.modules:  # which wait for the backward that does not come
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda held: held.tensor):
            instance.call(instance.parameters, inputs)
        vjp(instance, inputs)[1](mine.cotangent)

    counts = []
    for number in range(2 * steps):
        step()
        if number in (steps - 1, 2 * steps - 1):
            if mine.cotangent.device.type == "cuda":
                time.sleep(SETTLING_SECONDS)  # a backward's own thread holds its last tensors for a moment longer
            gc.collect()
            alive = [o for o in gc.get_objects() if issubclass(type(o), Tensor)]
            counts.append((len(alive) + len(saved), sum(t.numel() for t in alive)))
            del alive
    for what, before, after in zip(("live tensors", "elements of live tensors"), *counts, strict=True):
        if after - before >= steps:
            raise WrongAnswerError(what, f"grew from {before} to {after} in {steps} steps")
    return {}


class _Held:
    """A saved tensor, so that it can be seen when the graph lets go of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def settled(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The answer when the call returns, which must be the answer: no work is left on another thread or stream.

    On CUDA the call runs on a stream of its own, and only that stream is waited for.
    """
    (mine,) = values
    if mine.cotangent.device.type == "cuda":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            answer = {n: t.clone() for n, t in gradients(strategy, dims, values).items()}
        stream.synchronize()
        at_once = {n: t.cpu() for n, t in answer.items()}
        torch.cuda.synchronize()
        return {n: t.to(mine.cotangent.device) for n, t in at_once.items()}
    alive = [set(threading.enumerate())]
    instance = build(strategy, dims, mine.parameters)
    own = mine.clone()  # what is written over is told by another check
    output, pullback = vjp(instance, leaves(own))
    copy = output.detach().clone()
    pullback(own.cotangent)
    time.sleep(SETTLING_SECONDS)
    if not _same_bits(copy, output.detach()):
        raise WrongAnswerError("output", f"changes within {SETTLING_SECONDS:g} s after the call has returned")
    for _ in range(CALLS):
        alive.append(set(threading.enumerate()))
        answer = gradients(strategy, dims, [mine.clone()])
    left = [now - before for before, now in pairwise([*alive, set(threading.enumerate())])]
    if all(left):  # a pool that is kept starts its threads at the first calls
        names = ", ".join(sorted(thread.name for thread in left[-1]))
        raise WrongAnswerError("threads", f"left running after every call: {names}")
    return answer


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.contiguous().view(torch.uint8).equal(b.contiguous().view(torch.uint8)) if a.dim() else bool((a == b).all())
