"""Triton kernels for forward and backward: each element of x is read once, each of dL/dx written once.

y = s · w with the column sums s = Σ_n x_n. Forward: every program adds up a share of the rows and writes one row of
partial sums, which are added after: no atomics, so results repeat bit for bit. Backward: one kernel writes dL/dx, a
row repeated N times; dL/dw = g · s needs no pass over x. s is float32 (float64 for float64 inputs), whatever the dtype
of x.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. Each of the two is the other's derivative, so that second
derivatives come of themselves.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Kernel, Strategy, Style

TILE = {torch.float64: 2048, torch.float32: 4096, torch.bfloat16: 4096, torch.float16: 4096}
"""Elements of x in flight in a program, as rows × columns; in float64 more would spill."""
PROGRAMS = 3 if triton.knobs.runtime.interpret else 1024
"""Row programs at most: a few for each multiprocessor of today's cards, not yet tuned on any; in the interpreter, where
speed is nothing, so few that each takes several passes of its loop at small sizes too."""
WARPS = 4


@triton.jit
def column_sum_kernel(x, partials, N, D, x_v, x_n, x_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)  # [BLOCK_D]
    total = tl.zeros([BLOCK_N, BLOCK_D], partials.dtype.element_ty)
    for start in range(program * BLOCK_N, N, programs * BLOCK_N):
        n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)  # [BLOCK_N]
        inside = (n < N)[:, None] & (d < D)[None, :]
        tile = tl.load(x + v * x_v + n[:, None] * x_n + d[None, :] * x_d, mask=inside, other=0.0)
        total += tile.to(total.dtype)
    tl.store(partials + (v * programs + program) * D + d, tl.sum(total, 0), mask=d < D)


@triton.jit
def repeat_row_kernel(row, out, N, D, row_v, row_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)  # [BLOCK_D]
    tile = tl.load(row + v * row_v + d * row_d, mask=d < D, other=0.0).to(out.dtype.element_ty)
    tile = tl.broadcast_to(tile[None, :], [BLOCK_N, BLOCK_D])
    for start in range(program * BLOCK_N, N, programs * BLOCK_N):
        n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)  # [BLOCK_N]
        tl.store(out + (v * N + n[:, None]) * D + d[None, :], tile, mask=(n < N)[:, None] & (d < D)[None, :])


def _blocks(D: int, dtype: torch.dtype) -> dict[str, int]:
    """The shape of a tile: whole rows where they are short, 256 columns where they are long."""
    columns = min(256, max(16, triton.next_power_of_2(D)))
    return {"BLOCK_N": TILE[dtype] // columns, "BLOCK_D": columns}


def _grid(V: int, N: int, D: int, blocks: dict[str, int]) -> tuple[int, int, int]:
    across = triton.cdiv(D, blocks["BLOCK_D"])
    return max(1, min(triton.cdiv(N, blocks["BLOCK_N"]), PROGRAMS)), max(1, across), V


def _fold(size: int, dim: int | None, t: Tensor) -> Tensor:
    """Fold the axis that vmap maps over into the operand's own batch axis: [size * V, ...]."""
    return (t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)).flatten(0, 1)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_column_sum", mutates_args=())
def run_column_sum(x: Tensor) -> Tensor:
    """x [V, N, D] -> Σ_n x [V, D], float32 or wider."""
    V, N, D = x.shape
    blocks = _blocks(D, x.dtype)
    grid = _grid(V, N, D, blocks)
    partials = x.new_empty((V, grid[0], D), dtype=torch.promote_types(x.dtype, torch.float32))
    column_sum_kernel[grid](x, partials, N, D, *x.stride(), **blocks, num_warps=WARPS)
    return partials.sum(1)


@run_column_sum.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[2]), dtype=torch.promote_types(x.dtype, torch.float32))


@run_column_sum.register_vmap
def _(info: Any, dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int]:
    return run_column_sum(_fold(info.batch_size, dims[0], x)).unflatten(0, (info.batch_size, -1)), 0


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_repeat_row", mutates_args=())
def run_repeat_row(row: Tensor, N: int, dtype: torch.dtype) -> Tensor:
    """row [V, D] -> [V, N, D] in ``dtype``, each row the same."""
    V, D = row.shape
    out = row.new_empty((V, N, D), dtype=dtype)
    blocks = _blocks(D, dtype)
    repeat_row_kernel[_grid(V, N, D, blocks)](row, out, N, D, *row.stride(), **blocks, num_warps=WARPS)
    return out


@run_repeat_row.register_fake
def _(row: Tensor, N: int, dtype: torch.dtype) -> Tensor:
    return row.new_empty((row.shape[0], N, row.shape[1]), dtype=dtype)


@run_repeat_row.register_vmap
def _(info: Any, dims: tuple[int | None, ...], row: Tensor, N: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    out = run_repeat_row(_fold(info.batch_size, dims[0], row), N, dtype)
    return out.unflatten(0, (info.batch_size, -1)), 0


class ColumnSum(torch.autograd.Function):
    """Σ_n x [D] of x [N, D]; its backward repeats a row."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return run_column_sum(x[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.rows, ctx.dtype = inputs[0].shape[0], inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return RepeatRow.apply(g, ctx.rows, ctx.dtype)


class RepeatRow(torch.autograd.Function):
    """A row [D] repeated to [N, D]; its backward sums columns."""

    generate_vmap_rule = True

    @staticmethod
    def forward(row: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
        return run_repeat_row(row[None], rows, dtype)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.dtype = inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return ColumnSum.apply(g).to(ctx.dtype), None, None


def forward(x: Tensor, weight: Tensor) -> Tensor:
    columns = ColumnSum.apply(x if x.dim() == 2 else x.flatten(0, -2))
    return torch.dot(columns, weight.to(columns.dtype)).to(x.dtype)


def _signatures(matrix: str, wide: str, *strides: str) -> dict[str, dict[str, str | int | bool]]:
    """Sizes that are multiples of 16, and any; ``wide`` is the pointer that is float32 or wider."""
    return {
        t + name: {
            matrix: f"*{t}", wide: "*fp64" if t == "fp64" else "*fp32",
            **dict.fromkeys(strides, f"i64{step}"), "N": f"i32{step}", "D": f"i32{step}",
            f"{strides[0][:-2]}_d": 1, **_blocks(4096, dtype),
        }
        for t, dtype in zip(("fp64", "fp32", "bf16", "fp16"), TILE, strict=True)
        for name, step in (("", ":16"), (", any sizes", ""))
    }  # fmt: skip


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(
        Kernel(
            column_sum_kernel,
            passes=("forward",),
            signatures=_signatures("x", "partials", "x_v", "x_n"),
            options={"num_warps": WARPS},
        ),
        Kernel(
            repeat_row_kernel,
            passes=("backward",),
            signatures=_signatures("out", "row", "row_v"),
            options={"num_warps": WARPS},
        ),
    ),
    style=Style("#E69F00", "X", "-"),
)
