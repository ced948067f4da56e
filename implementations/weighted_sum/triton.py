"""Triton kernels for forward and backward: each element of x is read once, each of dL/dx written once.

Forward: every program sums its rows' products in registers and writes one partial; the partials are summed after.
Backward: one kernel writes the broadcast dL/dx and sums x's columns in the same pass; every program writes one row of
partials for dL/dw. No atomics, so results repeat bit for bit. Partials are float32 (float64 for float64 inputs),
whatever the dtype of x.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. A second derivative is taken through the backward's formula.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Kernel, Strategy, Style

TILE = 4096  # elements of x in flight in a program, as rows × columns
PROGRAMS = 1024  # row programs at most: a few for each multiprocessor of today's cards; not yet tuned on any
WARPS = 4


@triton.jit
def forward_kernel(x, w, partials, N, D, x_v, x_n, x_d, w_v, w_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    total = tl.zeros([BLOCK_N, BLOCK_D], partials.dtype.element_ty)
    for start in range(program * BLOCK_N, N, programs * BLOCK_N):
        n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)  # [BLOCK_N]
        for d_start in range(0, D, BLOCK_D):
            d = d_start + tl.arange(0, BLOCK_D)  # [BLOCK_D]
            inside = (n < N)[:, None] & (d < D)[None, :]
            x_tile = tl.load(x + v * x_v + n[:, None] * x_n + d[None, :] * x_d, mask=inside, other=0.0)
            w_tile = tl.load(w + v * w_v + d * w_d, mask=d < D, other=0.0)
            total += x_tile.to(total.dtype) * w_tile.to(total.dtype)[None, :]
    tl.store(partials + v * programs + program, tl.sum(tl.sum(total, 1), 0))


@triton.jit
def backward_kernel(
    g, x, w, dx, partials, N, D, g_v, x_v, x_n, x_d, w_v, w_d,
    NEED_X: tl.constexpr, NEED_W: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)  # [BLOCK_D]
    upstream = tl.load(g + v * g_v).to(partials.dtype.element_ty)
    w_tile = tl.load(w + v * w_v + d * w_d, mask=d < D, other=0.0).to(upstream.dtype)
    row = (upstream * w_tile).to(dx.dtype.element_ty)
    columns = tl.zeros([BLOCK_N, BLOCK_D], upstream.dtype)
    for start in range(program * BLOCK_N, N, programs * BLOCK_N):
        n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)  # [BLOCK_N]
        inside = (n < N)[:, None] & (d < D)[None, :]
        if NEED_X:
            at = dx + (v * N + n[:, None]) * D + d[None, :]
            tl.store(at, tl.broadcast_to(row[None, :], [BLOCK_N, BLOCK_D]), mask=inside)
        if NEED_W:
            x_tile = tl.load(x + v * x_v + n[:, None] * x_n + d[None, :] * x_d, mask=inside, other=0.0)
            columns += x_tile.to(columns.dtype)
    if NEED_W:
        tl.store(partials + (v * programs + program) * D + d, upstream * tl.sum(columns, 0), mask=d < D)


def _blocks(D: int) -> dict[str, int]:
    """The shape of a tile: whole rows where they are short, 256 columns where they are long."""
    columns = min(256, max(16, triton.next_power_of_2(D)))
    return {"BLOCK_N": TILE // columns, "BLOCK_D": columns}


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _row_programs(N: int, D: int) -> int:
    return max(1, min(triton.cdiv(N, _blocks(D)["BLOCK_N"]), PROGRAMS))


def _fold(size: int, dims: tuple[int | None, ...], *operands: Tensor) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own batch axis: [size * V, ...]."""
    spread = (t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(operands, dims, strict=True))
    return [t.flatten(0, 1) for t in spread]


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_forward", mutates_args=())
def run_forward(x: Tensor, w: Tensor) -> Tensor:
    """x [V, N, D], w [V, D] -> y [V]."""
    V, N, D = x.shape
    partials = x.new_empty((V, _row_programs(N, D)), dtype=_accumulator(x))
    forward_kernel[(partials.shape[1], V)](
        x, w, partials, N, D, *x.stride(), *w.stride(), **_blocks(D), num_warps=WARPS
    )
    return partials.sum(1).to(x.dtype)


@run_forward.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty(x.shape[0])


@run_forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], x: Tensor, w: Tensor) -> tuple[Tensor, int]:
    y = run_forward(*_fold(info.batch_size, dims, x, w))
    return y.unflatten(0, (info.batch_size, -1)), 0


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_backward", mutates_args=())
def run_backward(g: Tensor, x: Tensor, w: Tensor, need_x: bool, need_w: bool) -> tuple[Tensor, Tensor]:
    """g [V], x [V, N, D], w [V, D] -> dx [V, N, D], dw [V, D]; one that is not needed is empty."""
    V, N, D = x.shape
    dx = x.new_empty((V, N, D) if need_x else (0,))
    partials = x.new_empty((V, _row_programs(N, D), D if need_w else 0), dtype=_accumulator(x))
    backward_kernel[(partials.shape[1], triton.cdiv(D, _blocks(D)["BLOCK_D"]), V)](
        g, x, w, dx, partials, N, D, g.stride(0), *x.stride(), *w.stride(),
        NEED_X=need_x, NEED_W=need_w, **_blocks(D), num_warps=WARPS,
    )  # fmt: skip
    return dx, partials.sum(1).to(x.dtype) if need_w else x.new_empty(0)


@run_backward.register_fake
def _(g: Tensor, x: Tensor, w: Tensor, need_x: bool, need_w: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape if need_x else (0,)), x.new_empty(w.shape if need_w else (0,))


@run_backward.register_vmap
def _(
    info: Any, dims: tuple[int | None, ...], g: Tensor, x: Tensor, w: Tensor, need_x: bool, need_w: bool
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    size = info.batch_size
    dx, dw = run_backward(*_fold(size, dims[:3], g, x, w), need_x, need_w)
    return (
        dx.unflatten(0, (size, -1)) if need_x else dx.expand(size, 0),
        dw.unflatten(0, (size, -1)) if need_w else dw.expand(size, 0),
    ), (0, 0)


class WeightedSum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return run_forward(x[None], weight[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        need_x, need_weight = ctx.needs_input_grad
        dx, dw = WeightedSumBackward.apply(g, *ctx.saved_tensors, need_x, need_weight)
        return dx if need_x else None, dw if need_weight else None


class WeightedSumBackward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool) -> tuple[Tensor, Tensor]:
        dx, dw = run_backward(g[None], x[None], weight[None], need_x, need_weight)
        return dx[0] if need_x else dx, dw[0] if need_weight else dw

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        g, x, weight, *ctx.needed = inputs
        ctx.save_for_backward(g, x, weight)

    @staticmethod
    def backward(ctx: Any, of_dx: Tensor, of_dw: Tensor) -> tuple[Tensor | None, ...]:
        """Derivatives of dx = g·w (broadcast) and dw = g·Σ_n x, in differentiable ops."""
        g, x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needed
        of_g, of_x, of_weight = torch.zeros_like(g), None, None
        if need_x:
            of_g = of_g + (of_dx.sum(0) * weight).sum()
            of_weight = g * of_dx.sum(0)
        if need_weight:
            of_g = of_g + (of_dw * x.sum(0)).sum()
            of_x = (g * of_dw).expand_as(x)
        return of_g, of_x, of_weight, None, None


def forward(x: Tensor, weight: Tensor) -> Tensor:
    result: Tensor = WeightedSum.apply(x, weight)
    return result


_STRIDES: dict[str, str | int | bool] = {
    "x_v": "i64",
    "x_n": "i64",
    "x_d": 1,
    "w_v": "i64",
    "w_d": 1,
    "N": "i32",
    "D": "i32",
}
_BLOCKS: dict[str, str | int | bool] = {**_blocks(4096)}

strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(
        Kernel(
            forward_kernel,
            passes=("forward",),
            signatures={
                t: {"x": f"*{t}", "w": f"*{t}", "partials": "*fp32", **_STRIDES, **_BLOCKS}
                for t in ("fp32", "bf16", "fp16")
            },
            options={"num_warps": WARPS},
        ),
        Kernel(
            backward_kernel,
            passes=("backward",),
            signatures={
                t: {
                    "g": f"*{t}", "x": f"*{t}", "w": f"*{t}", "dx": f"*{t}", "partials": "*fp32", "g_v": "i64",
                    "NEED_X": True, "NEED_W": True, **_STRIDES, **_BLOCKS,
                }
                for t in ("fp32", "bf16", "fp16")
            },
            options={"num_warps": WARPS},
        ),
    ),
    style=Style("#E69F00", "X", "-"),
)  # fmt: skip
