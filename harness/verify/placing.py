"""Probes that place a strategy's memory: between guards, far apart, or at the end of very many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Layer, Strategy
from harness.verify.arranging import poison
from harness.verify.interpreting import strict_memory
from harness.verify.probes import Answer, WrongAnswerError, gradients

GUARD = 256  # elements before and after each guarded buffer: a multiple of any alignment that a kernel may ask for
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def guarded(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients where every buffer lies between rows of NaN, and fresh ones hold NaN.

    What reads or writes beyond an end, or leaves an element unwritten, shows: in the answer or in the guards. In
    Triton's interpreter every address is looked at besides (interpreting.py).
    """
    (mine,) = values
    inner = {n: _between_guards(x)[1] for n, x in mine.inputs.items()}
    placed = replace(mine, inputs=inner, cotangent=_between_guards(mine.cotangent)[1])
    buffers: list[Tensor] = []
    with _guarded_allocations(buffers), strict_memory():
        answer = gradients(strategy, dims, [placed])
    for buffer in buffers:
        if not (buffer[:GUARD].isnan().all() and buffer[-GUARD:].isnan().all()):
            raise WrongAnswerError("memory", "written beyond the end of a buffer that the strategy allocated")
    return answer


def _between_guards(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A buffer of NaN (of the least number, for integers), and a dense copy of the tensor in the middle of it."""
    buffer = torch.full((tensor.numel() + 2 * GUARD,), poison(tensor.dtype), dtype=tensor.dtype, device=tensor.device)
    inner = buffer[GUARD : GUARD + tensor.numel()].view(tensor.shape)
    inner.copy_(tensor)
    return buffer, inner


@contextmanager
def _guarded_allocations(buffers: list[Tensor]) -> Iterator[None]:
    """Python's ways to allocate give memory between guards while this lasts."""
    places: list[tuple[Any, str]] = [
        (torch, n) for n in ("empty", "empty_like", "empty_strided", "zeros", "zeros_like")
    ]
    places += [(Tensor, n) for n in ("new_empty", "new_empty_strided", "new_zeros")]
    originals: list[Callable[..., Tensor]] = [getattr(place, name) for place, name in places]

    def guarding(original: Callable[..., Tensor], zero: bool) -> Callable[..., Tensor]:
        def allocate(*args: Any, **kwargs: Any) -> Tensor:
            plain = original(*args, **kwargs)
            if type(plain) is not Tensor or plain.dtype not in FLOATS or not plain.is_contiguous() or plain.is_meta:
                return plain
            buffer, inner = _between_guards(plain)
            inner.fill_(0.0 if zero else torch.nan)
            buffers.append(buffer)
            return inner

        return allocate

    try:
        for (place, name), original in zip(places, originals, strict=True):
            setattr(place, name, guarding(original, "zeros" in name))
        yield
    finally:
        for (place, name), original in zip(places, originals, strict=True):
            setattr(place, name, original)


def tail(strategy: Strategy, dims: Dims, values: Sequence[Values], rows: int, layer: Layer) -> Answer:
    """The last rows of an answer over very many rows, so that an offset of an element in 32 bits wraps.

    The values are those of the last rows; what comes before them is zero and must not matter: rows are independent of
    each other, or only summed. Answers with the output (where it has the leading dim) and the gradients of the inputs
    that have it, of the last rows alone.
    """
    (mine,) = values
    last = dims[layer.leading]
    whole = layer.leading in layer.output

    def at_the_end(t: Tensor) -> Tensor:
        big = torch.zeros((rows, *t.shape[1:]), dtype=t.dtype, device=t.device)
        big[-last:] = t
        return big

    inputs = {n: at_the_end(x) if n in layer.leading_inputs else x for n, x in mine.inputs.items()}
    cotangent = at_the_end(mine.cotangent) if whole else mine.cotangent
    answer = gradients(strategy, dims, [replace(mine, inputs=inputs, cotangent=cotangent)])
    return of_the_last_rows(answer, last, layer)


def of_the_last_rows(answer: Answer, last: int, layer: Layer) -> Answer:
    """What ``tail`` answers with, from an answer over all rows."""
    names = [
        *(["output"] if layer.leading in layer.output else []),
        *(f"gradient of {n}" for n, o in layer.leading_inputs.items() if o.differentiable),
    ]
    return {n: answer[n][-last:].clone() for n in names}


def rows_alone(strategy: Strategy, dims: Dims, values: Sequence[Values], layer: Layer) -> Answer:
    """The truth of ``tail``: the last rows alone."""
    return of_the_last_rows(gradients(strategy, dims, values), dims[layer.leading], layer)


def far_apart(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Inputs whose rows lie so far apart that an offset in 32 bits wraps; the memory between is never touched.

    Raises:
        MemoryError: the machine grants no such address range.
    """
    (mine,) = values
    spread = {}
    for name, x in mine.inputs.items():
        if x.dim() < 2 or x.shape[0] < 2:
            spread[name] = x
            continue
        stride = 2**31 // (x.shape[0] - 1) + 8
        try:
            buffer = torch.empty(stride * (x.shape[0] - 1) + x[0].numel(), dtype=x.dtype, device=x.device)
        except RuntimeError as error:
            raise MemoryError(str(error)) from None
        spread[name] = buffer.as_strided(x.shape, (stride, *x.stride()[1:]))
        spread[name].copy_(x)
    try:
        with strict_memory():
            return gradients(strategy, dims, [replace(mine, inputs=spread)])
    except WrongAnswerError as error:
        if error.tensor != "memory":
            raise
        raise WrongAnswerError("memory", f"{error}: an offset between far rows wraps in 32 bits") from None
