"""Triton kernels for forward and backward: a tiled matrix product with the bias in its epilogue.

One product kernel, addressed by strides, gives y = x W + b, dL/dx = g Wᵀ and dL/dW = xᵀ g without a transposed copy;
a second kernel sums g over the batch for dL/db, one row of partials for each program, no atomics, so results repeat
bit for bit. Accumulators are float32 (float64 for float64 inputs). float32 products are exact ones
(``input_precision="ieee"``), as torch's are: Triton's own default on NVIDIA is TF32.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. The backward is made of the same Functions, so that it can be
differentiated again.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Kernel, Strategy, Style

BLOCK_M, BLOCK_N, GROUP_M, WARPS = 64, 64, 8, 4
BLOCK_K = {torch.float64: 32, torch.float32: 16, torch.bfloat16: 32, torch.float16: 32}
"""Without tensor cores, as float32 products are, every factor passes through registers: 32 would spill on sm_80."""
SUM_ROWS, SUM_COLUMNS, SUM_PROGRAMS = 32, 128, 64


@triton.jit
def product_kernel(
    a, b, bias, c, M, N, K, a_v, a_m, a_k, b_v, b_k, b_n, bias_v, bias_n,
    HAS_BIAS: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    # Programs go down GROUP_M rows of tiles before the next column, so that tiles of b are met again in L2.
    program, v = tl.program_id(0), tl.program_id(1).to(tl.int64)
    down, across = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    first = program // (GROUP_M * across) * GROUP_M
    rows = tl.minimum(down - first, GROUP_M)
    m = ((first + program % (GROUP_M * across) % rows) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = (program % (GROUP_M * across) // rows * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)

    wide: tl.constexpr = tl.float64 if a.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros([BLOCK_M, BLOCK_N], wide)
    for start in range(0, K, BLOCK_K):
        k = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        a_mask, b_mask = (m < M)[:, None] & (k < K)[None, :], (k < K)[:, None] & (n < N)[None, :]
        a_tile = tl.load(a + v * a_v + m[:, None] * a_m + k[None, :] * a_k, mask=a_mask, other=0.0)  # [M, K]
        b_tile = tl.load(b + v * b_v + k[:, None] * b_k + n[None, :] * b_n, mask=b_mask, other=0.0)  # [K, N]
        if WIDEN:  # the interpreter multiplies bfloat16 wrongly
            a_tile, b_tile = a_tile.to(wide), b_tile.to(wide)
        total = tl.dot(a_tile, b_tile, total, input_precision="ieee", out_dtype=wide)
    if HAS_BIAS:
        total += tl.load(bias + v * bias_v + n * bias_n, mask=n < N, other=0.0).to(wide)[None, :]
    at = c + (v * M + m[:, None]) * N + n[None, :]
    tl.store(at, total.to(c.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])


@triton.jit
def column_sum_kernel(g, partials, M, N, g_v, g_m, g_n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    n = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)  # [COLUMNS]
    total = tl.zeros([ROWS, COLUMNS], partials.dtype.element_ty)
    for start in range(program * ROWS, M, programs * ROWS):
        m = (start + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
        inside = (m < M)[:, None] & (n < N)[None, :]
        tile = tl.load(g + v * g_v + m[:, None] * g_m + n[None, :] * g_n, mask=inside, other=0.0)
        total += tile.to(total.dtype)
    tl.store(partials + (v * programs + program) * N + n, tl.sum(total, 0), mask=n < N)


def _fold(size: int, dims: tuple[int | None, ...], *operands: Tensor) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own batch axis: [size * V, ...]."""
    spread = (t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(operands, dims, strict=True))
    return [t.flatten(0, 1) for t in spread]


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_product", mutates_args=())
def run_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """a [V, M, K], b [V, K, N], bias [V, N] or None -> a b + bias [V, M, N]; any strides."""
    (V, M, K), N = a.shape, b.shape[2]
    c = a.new_empty((V, M, N))
    product_kernel[(triton.cdiv(M, BLOCK_M) * triton.cdiv(N, BLOCK_N), V)](
        a, b, a if bias is None else bias, c, M, N, K, *a.stride(), *b.stride(),
        *((0, 0) if bias is None else bias.stride()),
        HAS_BIAS=bias is not None, WIDEN=a.device.type == "cpu" and a.dtype == torch.bfloat16,
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K[a.dtype], GROUP_M=GROUP_M, num_warps=WARPS,
    )  # fmt: skip
    return c


@run_product.register_fake
def _(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return a.new_empty((a.shape[0], a.shape[1], b.shape[2]))


@run_product.register_vmap
def _(info: Any, dims: tuple[int | None, ...], a: Tensor, b: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
    size = info.batch_size
    folded = None if bias is None else _fold(size, dims[2:], bias)[0]
    c = run_product(*_fold(size, dims[:2], a, b), folded)
    return c.unflatten(0, (size, -1)), 0


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_column_sum", mutates_args=())
def run_column_sum(g: Tensor) -> Tensor:
    """g [V, M, N] -> Σ_m g [V, N]."""
    V, M, N = g.shape
    programs = max(1, min(triton.cdiv(M, SUM_ROWS), SUM_PROGRAMS))
    wide = torch.float64 if g.dtype == torch.float64 else torch.float32
    partials = g.new_empty((V, programs, N), dtype=wide)
    column_sum_kernel[(programs, triton.cdiv(N, SUM_COLUMNS), V)](
        g, partials, M, N, *g.stride(), ROWS=SUM_ROWS, COLUMNS=SUM_COLUMNS, num_warps=WARPS
    )
    return partials.sum(1).to(g.dtype)


@run_column_sum.register_fake
def _(g: Tensor) -> Tensor:
    return g.new_empty((g.shape[0], g.shape[2]))


@run_column_sum.register_vmap
def _(info: Any, dims: tuple[int | None, ...], g: Tensor) -> tuple[Tensor, int]:
    return run_column_sum(*_fold(info.batch_size, dims, g)).unflatten(0, (info.batch_size, -1)), 0


class Product(torch.autograd.Function):
    """a [M, K] times b [K, N]; its own backward, so it can be differentiated any number of times."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return run_product(a[None], b[None], None)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        return Product.apply(g, b.T) if need_a else None, Product.apply(a.T, g) if need_b else None


class ColumnSum(torch.autograd.Function):
    """Σ_m g [N] of g [M, N]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor) -> Tensor:
        return run_column_sum(g[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.rows = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.expand(ctx.rows, -1)


class Affine(torch.autograd.Function):
    """x [B, I] times weight [I, O] plus bias [O]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return run_product(x[None], weight[None], bias[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            Product.apply(g, weight.T) if need_x else None,
            Product.apply(x.T, g) if need_weight else None,
            ColumnSum.apply(g) if need_bias else None,
        )


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, weight, bias))
    if x.dim() == 2:
        result: Tensor = Affine.apply(x, weight, bias)
        return result
    rows: Tensor = Affine.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return rows.view(*x.shape[:-1], weight.shape[1])


Signature = dict[str, str | int | bool]
DTYPES = dict(zip(("fp64", "fp32", "bf16", "fp16"), BLOCK_K, strict=True))


def _product_signatures(t: str) -> dict[str, Signature]:
    """The three products where sizes are multiples of 16, and the forward at any sizes."""
    found: dict[str, Signature] = {}
    for name, step, ones in (
        ("y", ":16", ("a_k", "b_n")), ("dL/dx", ":16", ("a_k", "b_k")), ("dL/dW", ":16", ("a_m", "b_n")),
        ("y, any sizes", "", ("a_k", "b_n")),
    ):  # fmt: skip
        signature: Signature = dict.fromkeys(("a", "b", "bias", "c"), f"*{t}")
        signature |= dict.fromkeys("MNK", f"i32{step}")
        signature |= dict.fromkeys(("a_v", "a_m", "a_k", "b_v", "b_k", "b_n", "bias_v"), f"i64{step}")
        signature |= {
            **dict.fromkeys((*ones, "bias_n"), 1), "HAS_BIAS": name[0] == "y", "WIDEN": False, "BLOCK_M": BLOCK_M,
            "BLOCK_N": BLOCK_N, "BLOCK_K": BLOCK_K[DTYPES[t]], "GROUP_M": GROUP_M,
        }  # fmt: skip
        found[f"{t} {name}"] = signature
    return found


def _sum_signatures(t: str) -> dict[str, Signature]:
    """Sizes that are multiples of 16, and any."""
    return {
        t + name: {
            "g": f"*{t}", "partials": "*fp64" if t == "fp64" else "*fp32", "M": f"i32{step}", "N": f"i32{step}",
            "g_v": f"i64{step}", "g_m": f"i64{step}", "g_n": 1, "ROWS": SUM_ROWS, "COLUMNS": SUM_COLUMNS,
        }
        for name, step in (("", ":16"), (", any sizes", ""))
    }  # fmt: skip


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(
        Kernel(
            product_kernel,
            passes=("forward", "backward"),
            signatures={name: s for t in DTYPES for name, s in _product_signatures(t).items()},
            options={"num_warps": WARPS},
        ),
        Kernel(
            column_sum_kernel,
            passes=("backward",),
            signatures={name: s for t in DTYPES for name, s in _sum_signatures(t).items()},
            options={"num_warps": WARPS},
        ),
    ),
    style=Style("#E69F00", "X", "-"),
)
