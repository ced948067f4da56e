"""Triton kernels for forward and backward: each element of x is read once, each of dL/dx written once.

y = s · w with the column sums s = Σ_n x_n. Forward: every program adds up a share of the rows and writes one row of
partial sums, which are added after: no atomics, so results repeat bit for bit. Backward: one kernel writes dL/dx, a
row repeated N times; dL/dw = g · s needs no pass over x. s is float32 (float64 for float64 inputs), whatever the dtype
of x.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. Each of the two is the other's derivative, so that second
derivatives come of themselves.
"""

import inspect
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Dims, Kernel, Strategy, Style, Tuning, launch_table, target_of

SUMS, REPEATS = (launch_table(__file__, name) for name in ("column_sum_kernel", "repeat_row_kernel"))


@triton.jit
def column_sum_kernel(x, partials, N, D, x_v, x_n, x_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)  # [BLOCK_D]
    total = tl.zeros([BLOCK_N, BLOCK_D], partials.dtype.element_ty)
    for start in range(program * BLOCK_N, N, programs * BLOCK_N):
        n = (start + tl.arange(0, BLOCK_N)).to(tl.int64)  # [BLOCK_N]
        inside = (n < N)[:, None] & (d < D)[None, :]
        tile = tl.load(x + v * x_v + n[:, None] * x_n + d.to(tl.int64)[None, :] * x_d, mask=inside, other=0.0)
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


def _blocks(D: int, tile: int) -> dict[str, int]:
    """The shape of a tile of so many elements: whole rows where they are short, 256 columns where they are long."""
    columns = min(256, max(16, triton.next_power_of_2(D)))
    return {"BLOCK_N": tile // columns, "BLOCK_D": columns}


def _grid(V: int, N: int, D: int, blocks: dict[str, int], programs: int) -> tuple[int, int, int]:
    across = triton.cdiv(D, blocks["BLOCK_D"])
    return max(1, min(triton.cdiv(N, blocks["BLOCK_N"]), programs)), max(1, across), V


def _fold(size: int, dim: int | None, t: Tensor) -> Tensor:
    """Fold the axis that vmap maps over into the operand's own batch axis: [size * V, ...]."""
    return (t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)).flatten(0, 1)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_column_sum", mutates_args=())
def run_column_sum(x: Tensor) -> Tensor:
    """x [V, N, D] -> Σ_n x [V, D], float32 or wider."""
    V, N, D = x.shape
    launch = SUMS.find(target_of(x.device), x.dtype, D)
    blocks = _blocks(D, launch["TILE"])
    grid = _grid(V, N, D, blocks, launch["programs"])
    partials = x.new_empty((V, grid[0], D), dtype=torch.promote_types(x.dtype, torch.float32))
    column_sum_kernel[grid](x, partials, N, D, *x.stride(), **blocks, num_warps=launch["num_warps"])
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
    launch = REPEATS.find(target_of(row.device), dtype, D)
    blocks = _blocks(D, launch["TILE"])
    grid = _grid(V, N, D, blocks, launch["programs"])
    repeat_row_kernel[grid](row, out, N, D, *row.stride(), **blocks, num_warps=launch["num_warps"])
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


# apply reads the signature anew at every call, unless it is kept here
for function in (ColumnSum, RepeatRow):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    columns = ColumnSum.apply(x if x.dim() == 2 else x.flatten(0, -2))
    return torch.dot(columns, weight.to(columns.dtype)).to(x.dtype)


DTYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
D_AHEAD = 4096


def _kernels(function: Any, passed: str, table: Any, matrix: str, wide: str, *strides: str) -> list[Kernel]:
    """For every target's rows: sizes that are multiples of 16, and any; ``wide`` is the float32 (or wider) pointer."""
    found = []
    for target in dict.fromkeys(row.target for row in table.rows if row.target != "interpreter"):
        for dtype, t in DTYPES.items():
            launch = table.find(target, dtype, D_AHEAD)
            signatures: dict[str, dict[str, str | int | bool]] = {
                t + name: {
                    matrix: f"*{t}", wide: "*fp64" if t == "fp64" else "*fp32",
                    **dict.fromkeys(strides, f"i64{step}"), "N": f"i32{step}", "D": f"i32{step}",
                    f"{strides[0][:-2]}_d": 1, **_blocks(D_AHEAD, launch["TILE"]),
                }
                for name, step in (("", ":16"), (", any sizes", ""))
            }  # fmt: skip
            targets = () if target == "any" else (target,)
            found.append(Kernel(function, (passed,), signatures, {"num_warps": launch["num_warps"]}, targets))  # type: ignore[arg-type]
    return found


def _columns(dims: Dims) -> int:
    return dims["D"]


def _candidates(D: int, dtype: str) -> list[dict[str, int]]:
    """Some hundreds to thousands of programs in all, over the blocks of columns."""
    tiles = (1024, 2048) if dtype == "float64" else (2048, 4096, 8192)
    return [
        {"TILE": tile, "programs": max(1, programs // triton.cdiv(D, 256)), "num_warps": warps}
        for tile in tiles for programs in (512, 1024, 2048, 4096) for warps in (4, 8)
    ]  # fmt: skip


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(
        *_kernels(column_sum_kernel, "forward", SUMS, "x", "partials", "x_v", "x_n"),
        *_kernels(repeat_row_kernel, "backward", REPEATS, "out", "row", "row_v"),
    ),
    tunings=(
        Tuning(SUMS, "forward", _columns, _candidates),
        Tuning(REPEATS, "backward", _columns, _candidates),
    ),
    style=Style("#E69F00", "X", "-"),
)
