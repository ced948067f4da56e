"""Memory of a forward and a backward, in bytes above the parameters and inputs.

On the CPU: torch's own allocation events, as the profiler records them, summed in the order of time; exact to the
byte, for compiled code and autograd Functions too. On CUDA: the allocator's requested bytes. Both see torch's
allocator only: a BLAS library's scratch is not among them.

``saved`` is what the forward allocated and still holds for the backward, without the output, which the caller holds
anyway. (``saved_tensors_hooks`` would miss what a Function keeps on ``ctx``, and are refused under ``torch.func``.)
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from harness.measure.passes import Call

WARM_UP_CALLS = 3
_MARK = "layerbench::"


@dataclass(frozen=True)
class Bytes:
    """Bytes above parameters and inputs.

    Attributes:
        saved: held for the backward after the forward, without the output.
        forward_peak: highest during the forward.
        backward_peak: highest during the backward, with output and saved tensors still held.
        step_peak: highest during a whole step, its output and gradients held.
        left: still allocated when output, graph and gradients are gone; other than 0 is a leak or a cache.
        least: of output and gradients, which no strategy can do without.
        reserved: on CUDA, what the allocator took from the device for a forward and backward, above what it had.
    """

    saved: int
    forward_peak: int
    backward_peak: int
    step_peak: int
    left: int
    least: int
    reserved: int | None = None


class AllocationEventsError(RuntimeError):
    """The profiler's private event tree is not what it was when this was written: memory cannot be measured."""


def measure(calls: dict[str, Call], device: str) -> Bytes:
    """Bytes of a strategy's forward, backward and step.

    Args:
        calls: its passes (see passes.py); ``backward`` gives forward and pullback apart.

    Raises:
        AllocationEventsError: torch's profiler reports allocations in a form that is not known here.
    """
    backward, step = calls["backward"], calls["step"]
    for _ in range(WARM_UP_CALLS):
        backward.write(1)
        backward.run(backward.prepare())
        step.run(step.prepare())
    window = _on_cuda if device == "cuda" else _on_cpu

    sizes: dict[str, int] = {}

    def both(mark: Callable[[str], None]) -> None:
        made = backward.prepare()
        sizes["output"] = made[0].untyped_storage().nbytes()
        mark("forward")
        gradients = backward.run(made)
        sizes["least"] = sizes["output"] + sum(g.untyped_storage().nbytes() for g in gradients)
        mark("backward")
        del made, gradients

    def whole(mark: Callable[[str], None]) -> None:
        step.run(step.prepare())
        mark("step")

    backward.write(1)  # what is kept of the calls before is of no use to the next one
    peaks = window(both)
    step.write(1)
    return Bytes(
        saved=peaks["forward"].held - sizes["output"],
        forward_peak=peaks["forward"].peak,
        backward_peak=peaks["backward"].peak,
        step_peak=window(whole)["step"].peak,
        left=peaks["end"].held,
        least=sizes["least"],
        reserved=peaks["backward"].reserved,
    )


@dataclass(frozen=True)
class _Span:
    peak: int
    held: int
    reserved: int | None = None


def _on_cuda(work: Callable[[Callable[[str], None]], None]) -> dict[str, _Span]:
    """Peaks of requested bytes between marks; what comes after the last mark is ``end``."""
    spans: dict[str, _Span] = {}
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # else what the warm-up reserved would serve

    def now(what: str) -> int:
        return int(torch.cuda.memory_stats()[f"requested_bytes.all.{what}"])

    base, taken = now("current"), torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()

    def mark(name: str) -> None:
        torch.cuda.synchronize()
        reserved = torch.cuda.max_memory_reserved() - taken
        spans[name] = _Span(now("peak") - base, now("current") - base, reserved)
        torch.cuda.reset_peak_memory_stats()

    work(mark)
    mark("end")
    return spans


def _on_cpu(work: Callable[[Callable[[str], None]], None]) -> dict[str, _Span]:
    """Running sum of allocation events between marks, each mark an empty profiler range."""
    gc.collect()

    def mark(name: str) -> None:
        with record_function(_MARK + name):
            pass

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work(mark)
        mark("end")

    events = sorted(_walk(profiled), key=lambda e: int(e.start_time_ns))
    spans: dict[str, _Span] = {}
    held = peak = 0
    for event in events:
        if event.name.startswith(_MARK):
            spans[event.name.removeprefix(_MARK)] = _Span(peak, held)
            peak = held
        elif event.name == "[memory]":
            held += int(event.extra_fields.alloc_size)
            peak = max(peak, held)
    if "end" not in spans:
        raise AllocationEventsError("the profiler's marks are missing from its event tree")
    return spans


def _walk(profiled: Any) -> list[Any]:
    try:
        waiting = list(profiled.profiler.kineto_results.experimental_event_tree())
    except AttributeError as error:
        raise AllocationEventsError(f"torch {torch.__version__}: {error}") from None
    found = []
    while waiting:
        event = waiting.pop()
        found.append(event)
        waiting.extend(event.children)
    return found
