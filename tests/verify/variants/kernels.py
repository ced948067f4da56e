"""Faults in Triton kernels of the gate: a row for each program in the forward, two-dimensional tiles in the sums."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Kernel, Strategy
from harness.verify.controls.control import Control
from tests.verify.variants import gate

layer, reference = gate.layer, gate.reference
ROWS, COLUMNS = 8, 16


@triton.jit
def row_kernel(x, slope, shift, y, D, EDGE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    start = tl.program_id(0).to(tl.int64) * D
    column = tl.arange(0, BLOCK)  # [BLOCK]
    inside = column < D
    a = tl.load(slope + column, mask=inside, other=0.0)
    if EDGE == 3:  # noqa: SIM108 - kernels branch at compile time
        b = tl.load(shift + column)
    else:
        b = tl.load(shift + column, mask=inside, other=0.0)
    value = tl.load(x + start + column, mask=inside, other=0.0)
    result = value / (1 + tl.exp(-(a * value + b)))
    if EDGE == 0:
        tl.store(y + start + column, result, mask=inside)
    elif EDGE == 1:
        tl.store(y + start + column, result, mask=column <= D)
    elif EDGE == 2:
        tl.store(y + start + column, result)
    else:
        tl.store(y + start + column, result, mask=inside)


@triton.jit
def tile_sum_kernel(  # type: ignore[no-untyped-def]
    source, target, N, D, FILLED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # [COLUMNS]
    total = tl.zeros([COLUMNS], tl.float32)
    for start in range(0, N, ROWS):
        row = start + tl.arange(0, ROWS)  # [ROWS]
        inside = (row < N)[:, None] & (column < D)[None, :]
        at = source + row[:, None] * D + column[None, :]
        if FILLED:
            total += tl.sum(tl.load(at, mask=inside, other=0.0), 0)
        else:
            total += tl.sum(tl.load(at, mask=inside), 0)
    tl.store(target + column, total, mask=column < D)


def _forward(x: Tensor, slope: Tensor, shift: Tensor, edge: int, short: int) -> Tensor:
    rows = (x.contiguous() if x.shape[-1] <= short else x).flatten(0, -2)
    y = torch.empty_like(rows)
    block = triton.next_power_of_2(max(1, x.shape[-1]) + 1)
    row_kernel[(len(rows),)](rows, slope, shift, y, x.shape[-1], EDGE=edge, BLOCK=block)
    return y.view(x.shape)


class _OverRows(torch.autograd.Function):
    """Σ_n t, with a backward of its own so that the gate's backward can be differentiated again."""

    @staticmethod
    def forward(t: Tensor, filled: bool) -> Tensor:
        rows = t.contiguous().flatten(0, -2)
        total = rows.new_empty(rows.shape[1])
        grid = (triton.cdiv(rows.shape[1], COLUMNS),)
        tile_sum_kernel[grid](rows, total, *rows.shape, FILLED=filled, ROWS=ROWS, COLUMNS=COLUMNS)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g.expand(ctx.shape), None


def _strategy(edge: int = 0, filled: bool = True, short: int = 10**6) -> Strategy:
    class Kernels(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
            return _forward(x, slope, shift, edge, short)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            dx, da, db = gate.slopes(g, *ctx.saved_tensors)
            need = ctx.needs_input_grad
            return (
                dx if need[0] else None,
                _OverRows.apply(da, True) if need[1] else None,
                _OverRows.apply(db, filled) if need[2] else None,
            )

    return Strategy(
        lambda x, slope, shift: Kernels.apply(x, slope, shift), dtypes=("float32",), needs=("triton",),
        kernels=(Kernel(row_kernel, ("forward",), {}),),
    )  # fmt: skip


@triton.autotune(configs=[triton.Config({"BLOCK": 8}), triton.Config({"BLOCK": 32})], key=["N"])
@triton.heuristics({"EVEN": lambda given: given["N"] % given["BLOCK"] == 0})
@triton.jit
def in_place_kernel(y, N, factor, EVEN: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    inside = at < N
    if EVEN:
        inside = at >= 0
    tl.store(y + at, tl.load(y + at, mask=inside, other=0.0) * factor, mask=inside)


def _tuned() -> Strategy:
    """The output is halved and doubled in place, by a tuned kernel that is stated without its tuner."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
            y = _forward(x, slope, shift, 0, 10**6) / 2
            in_place_kernel[lambda given: (triton.cdiv(y.numel(), given["BLOCK"]),)](y, y.numel(), 2.0)
            return y

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            dx, da, db = gate.slopes(g, *ctx.saved_tensors)
            return dx, da.flatten(0, -2).sum(0), db.flatten(0, -2).sum(0)

    return Strategy(
        lambda x, slope, shift: Scaled.apply(x, slope, shift), dtypes=("float32",), needs=("triton",),
        kernels=(Kernel(in_place_kernel.fn.fn, ("forward",), {}),),
    )  # fmt: skip


CONTROLS = {
    "tuned_adding": Control(58, "a tuned kernel writes over what it reads", "values", _tuned(), dtype="float32"),
    "no_tail_mask": Control(22, "a row's store runs into what follows", "guarded", _strategy(edge=2)),
    "hidden_read": Control(0, "a parameter read beyond its end", "guarded", _strategy(edge=3), interpreted=True),
    "no_other": Control(23, "a tile's load without other", "guarded", _strategy(filled=False), interpreted=True),
}
MORE = {
    "one_too_many": Control(22, "a mask that lets one too many through", "guarded", _strategy(edge=1)),
    "long_and_strided": Control(0, "long rows are taken to be dense", "shapes", _strategy(short=64)),
}
STRATEGIES = {
    "sound": _strategy(),
    **{name: control.strategy for name, control in CONTROLS.items()},
    **{name: control.strategy for name, control in MORE.items()},
}
