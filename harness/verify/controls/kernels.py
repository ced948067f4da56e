"""Controls on the dense layer that take a Triton kernel: what is stored or loaded where the mask should be off."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness.layers.kernel import Kernel
from harness.layers.spec import Strategy
from harness.verify.controls import dense_layer as dense
from harness.verify.controls.control import Control, function

BLOCK = 16
layer, reference = dense.layer, dense.reference


@triton.jit
def copy_kernel(source, target, size, READS: tl.constexpr, WRITES: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    if READS:  # noqa: SIM108 - kernels branch at compile time
        values = tl.load(source + at, mask=at < size, other=0.0)
    else:
        values = tl.load(source + at)
    if WRITES:
        tl.store(target + at, values, mask=at < size)
    else:
        tl.store(target + at, values)


@triton.jit
def column_sum_kernel(source, target, rows, columns, FILLED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.program_id(0)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)  # [BLOCK]
        if FILLED:
            total += tl.load(source + row * columns + column, mask=row < rows, other=0.0)
        else:
            total += tl.load(source + row * columns + column, mask=row < rows)
    tl.store(target + column, tl.sum(total, 0))


@triton.autotune(configs=[triton.Config({"BLOCK": BLOCK}), triton.Config({"BLOCK": 2 * BLOCK})], key=["size"])
@triton.jit
def add_kernel(source, target, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    tl.atomic_add(target + at, tl.load(source + at, mask=at < size, other=0.0), mask=at < size)


def _added(y: Tensor) -> Tensor:
    """A copy of y by adding it to zeros: the tuner does that several times where it is told to reset nothing."""
    target = torch.zeros_like(y)
    add_kernel[lambda given: (triton.cdiv(y.numel(), given["BLOCK"]),)](y, target, y.numel())
    return target


def _copied(y: Tensor, reads: bool, writes: bool) -> Tensor:
    target = torch.empty_like(y)
    copy_kernel[(triton.cdiv(y.numel(), BLOCK),)](y, target, y.numel(), READS=reads, WRITES=writes, BLOCK=BLOCK)
    return target


def _summed(z: Tensor, filled: bool) -> Tensor:
    target = z.new_empty(z.shape[1])
    column_sum_kernel[(z.shape[1],)](z, target, *z.shape, FILLED=filled, BLOCK=BLOCK)
    return target


def _strategy(reads: bool = True, writes: bool = True, filled: bool = True) -> Strategy:
    """With masks, or without, where values are read and written; a load with ``other``, or without."""

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return _copied(dense.forward(x, weight, bias), reads, writes)

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        dx, dw, _ = dense.slopes(g, x, weight, y)
        return dx, dw, _summed((g * (1 - y * y)).contiguous(), filled)

    call = function(forward, backward)
    return Strategy(lambda x, weight, bias: call(x, weight, bias), dtypes=("float32",), needs=("triton",))


def _tuned() -> Strategy:
    """A forward that ends in a tuned kernel which adds."""

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return _added(dense.forward(x, weight, bias))

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        return dense.slopes(g, x, weight, y)

    call = function(forward, backward)
    return Strategy(
        lambda x, weight, bias: call(x, weight, bias), dtypes=("float32",), needs=("triton",),
        kernels=(Kernel(add_kernel, ("forward",), {}),),
    )  # fmt: skip


CONTROLS = {
    "tuned_adding": Control(58, "a tuned kernel adds, and nothing is reset", "values", _tuned(), dtype="float32"),
    "no_tail_mask": Control(22, "a store without the tail's mask", "guarded", _strategy(writes=False)),
    "no_other": Control(
        23, "a masked load without other, in a sum", "guarded", _strategy(filled=False), interpreted=True
    ),
    "hidden_read": Control(
        0, "reads beyond the end what it does not use", "guarded", _strategy(reads=False), interpreted=True
    ),
}
STRATEGIES = {"sound": _strategy(), **{name: control.strategy for name, control in CONTROLS.items()}}
