"""Triton kernels for forward and backward: a tiled matrix product with bias and GELU in its epilogue.

One product kernel, addressed by strides, gives y = x W + b, dL/dx = δ Wᵀ and dL/dW = xᵀ δ without a transposed copy.
With GELU it writes y and, where a backward may follow, the pre-activation z (B·O elements kept beside x and W; without
GELU nothing is); the backward then begins with δ = g (Φ(z) + z φ(z)) in a kernel of its own, once: in the products'
prologue every tile would find it again for each tile that it meets. A third kernel sums δ over the batch for dL/db.

Where a product has few tiles and many terms, as dL/dW has for a large batch, the terms are dealt out to several
programs a tile. They leave partial sums, as those of dL/db do, which are added after in a fixed order: no atomics, so
results repeat bit for bit. Accumulators and partial sums are float32 (float64 for float64 inputs). float32 products are
exact ones (``input_precision="ieee"``), as torch's are: Triton's own default on NVIDIA is TF32.

On GPUs with a copy engine for tensors, products of 16-bit numbers that are large enough go to kernels of their own, see
``_blocks.py``.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. The backward is made of Functions of the same kind, so that it can
be differentiated again: z is an output that is differentiable too, and only the second derivative of GELU is left to
torch's ops.
"""

import inspect
import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Strategy, Style

from ._blocks import TUNINGS, can_take, launch_blocks
from ._blocks import declared as declared_blocks
from ._launches import (
    GROUP_M,
    SLOPE_COLUMNS,
    SLOPE_ROWS,
    SUM_COLUMNS,
    SUM_PROGRAMS,
    SUM_ROWS,
    WARPS,
    declared,
    parts_of,
    tile_of,
)


@triton.jit
def product_kernel(
    a, b, bias, c, z, M, N, K, a_v, a_m, a_k, b_v, b_k, b_n, bias_v, bias_n,
    HAS_BIAS: tl.constexpr, GELU: tl.constexpr, KEEP: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    # Programs go down GROUP_M rows of tiles before the next column, so that tiles of b are met again in L2.
    program, v, part = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    down, across = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    first = program // (GROUP_M * across) * GROUP_M
    rows = tl.minimum(down - first, GROUP_M)
    m = ((first + program % (GROUP_M * across) % rows) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = (program % (GROUP_M * across) // rows * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)

    wide: tl.constexpr = tl.float64 if a.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros([BLOCK_M, BLOCK_N], wide)
    share = tl.cdiv(tl.cdiv(K, BLOCK_K), tl.num_programs(2)) * BLOCK_K  # terms of each part
    for start in range(part * share, tl.minimum(K, (part + 1) * share), BLOCK_K):
        k = (start + tl.arange(0, BLOCK_K)).to(tl.int64)
        a_mask, b_mask = (m < M)[:, None] & (k < K)[None, :], (k < K)[:, None] & (n < N)[None, :]
        a_tile = tl.load(a + v * a_v + m[:, None] * a_m + k[None, :] * a_k, mask=a_mask, other=0.0)  # [M, K]
        b_tile = tl.load(b + v * b_v + k[:, None] * b_k + n[None, :] * b_n, mask=b_mask, other=0.0)  # [K, N]
        if WIDEN:  # the interpreter multiplies bfloat16 wrongly
            a_tile, b_tile = a_tile.to(wide), b_tile.to(wide)
        total = tl.dot(a_tile, b_tile, total, input_precision="ieee", out_dtype=wide)
    if HAS_BIAS:
        total += tl.load(bias + v * bias_v + n * bias_n, mask=n < N, other=0.0).to(wide)[None, :]
    at = ((part * tl.num_programs(1) + v) * M + m[:, None]) * N + n[None, :]
    inside = (m < M)[:, None] & (n < N)[None, :]
    if KEEP:
        tl.store(z + at, total.to(z.dtype.element_ty), mask=inside)
    if GELU:
        total *= _normal_distribution(total)
    tl.store(c + at, total.to(c.dtype.element_ty), mask=inside)


@triton.jit
def _normal_distribution(z):
    return 0.5 * (1.0 + tl.erf(z * 0.7071067811865476))


@triton.jit
def slope_kernel(g, z, delta, M, N, g_v, g_m, g_n, z_v, z_m, z_n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    v = tl.program_id(2).to(tl.int64)
    m = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]  # [ROWS, 1]
    n = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]  # [1, COLUMNS]
    inside = (m < M) & (n < N)
    wide: tl.constexpr = tl.float64 if z.dtype.element_ty == tl.float64 else tl.float32
    at = tl.load(z + v * z_v + m * z_m + n * z_n, mask=inside, other=0.0).to(wide)  # [ROWS, COLUMNS]
    of_y = tl.load(g + v * g_v + m * g_m + n * g_n, mask=inside, other=0.0).to(wide)
    slope = _normal_distribution(at) + at * (tl.exp(-0.5 * at * at) * 0.3989422804014327)
    tl.store(delta + (v * M + m) * N + n, (of_y * slope).to(delta.dtype.element_ty), mask=inside)


@triton.jit
def column_sum_kernel(g, partials, M, N, g_v, g_m, g_n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    program, programs, v = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    n = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)  # [COLUMNS]
    total = tl.zeros([ROWS, COLUMNS], partials.dtype.element_ty)
    for start in range(program * ROWS, M, programs * ROWS):
        m = (start + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
        inside = (m < M)[:, None] & (n < N)[None, :]
        tile = tl.load(g + v * g_v + m[:, None] * g_m + n.to(tl.int64)[None, :] * g_n, mask=inside, other=0.0)
        total += tile.to(total.dtype)
    tl.store(partials + (v * programs + program) * N + n, tl.sum(total, 0), mask=n < N)


def _fold(size: int, dims: tuple[int | None, ...], *operands: Tensor) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own batch axis: [size * V, ...]."""
    spread = (t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(operands, dims, strict=True))
    return [t.flatten(0, 1) for t in spread]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _launch(a: Tensor, b: Tensor, bias: Tensor | None, c: Tensor, z: Tensor | None, gelu: bool) -> None:
    """Fill c [parts, V, M, N], and z [V, M, N] if it is given; c need not have the axis of parts."""
    if c.dim() == 3 and can_take(a, b, gelu):
        launch_blocks(a, b, bias, c, z, gelu)
        return
    (V, M, K), N = a.shape, b.shape[2]
    block_m, block_n, block_k, warps = tile_of(a, b)
    product_kernel[(triton.cdiv(M, block_m) * triton.cdiv(N, block_n), V, c.shape[0] if c.dim() == 4 else 1)](
        a, b, a if bias is None else bias, c, c if z is None else z, M, N, K, *a.stride(), *b.stride(),
        *((0, 0) if bias is None else bias.stride()),
        HAS_BIAS=bias is not None, GELU=gelu, KEEP=z is not None,
        WIDEN=a.device.type == "cpu" and a.dtype == torch.bfloat16,
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, GROUP_M=GROUP_M, num_warps=warps,
    )  # fmt: skip


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_product", mutates_args=())
def run_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """a [V, M, K], b [V, K, N], bias [V, N] or None -> a b + bias [V, M, N]; any strides."""
    shape = (a.shape[0], a.shape[1], b.shape[2])
    parts = 1 if bias is not None or can_take(a, b, gelu=False) else parts_of(a, b)
    c = a.new_empty(shape) if parts == 1 else a.new_empty((parts, *shape), dtype=_wide(a.dtype))
    _launch(a, b, bias, c, None, gelu=False)
    return c if parts == 1 else c.sum(0).to(a.dtype)


@run_product.register_fake
def _(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return a.new_empty((a.shape[0], a.shape[1], b.shape[2]))


@run_product.register_vmap
def _(info: Any, dims: tuple[int | None, ...], a: Tensor, b: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
    size = info.batch_size
    folded = None if bias is None else _fold(size, dims[2:], bias)[0]
    return run_product(*_fold(size, dims[:2], a, b), folded).unflatten(0, (size, -1)), 0


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_affine_gelu", mutates_args=())
def run_affine_gelu(x: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """x [V, B, I], weight [V, I, O], bias [V, O] -> gelu(z), z = x W + b, both [V, B, O]; z has no rows unless kept."""
    shape = (x.shape[0], x.shape[1], weight.shape[2])
    y, z = x.new_empty(shape), x.new_empty(shape if keep else (shape[0], 0, shape[2]))
    _launch(x, weight, bias, y, z if keep else None, gelu=True)
    return y, z


@run_affine_gelu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], x.shape[1], weight.shape[2])
    return x.new_empty(shape), x.new_empty(shape if keep else (shape[0], 0, shape[2]))


@run_affine_gelu.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    both = run_affine_gelu(*_fold(info.batch_size, dims[:3], *inputs[:3]), inputs[3])
    return tuple(t.unflatten(0, (info.batch_size, -1)) for t in both), (0, 0)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_slope", mutates_args=())
def run_slope(g: Tensor, z: Tensor) -> Tensor:
    """g and z [V, M, N] -> g (Φ(z) + z φ(z)) [V, M, N]; any strides."""
    V, M, N = g.shape
    delta = g.new_empty(g.shape)
    slope_kernel[(triton.cdiv(M, SLOPE_ROWS), triton.cdiv(N, SLOPE_COLUMNS), V)](
        g, z, delta, M, N, *g.stride(), *z.stride(), ROWS=SLOPE_ROWS, COLUMNS=SLOPE_COLUMNS, num_warps=WARPS
    )
    return delta


@run_slope.register_fake
def _(g: Tensor, z: Tensor) -> Tensor:
    return g.new_empty(g.shape)


@run_slope.register_vmap
def _(info: Any, dims: tuple[int | None, ...], g: Tensor, z: Tensor) -> tuple[Tensor, int]:
    return run_slope(*_fold(info.batch_size, dims, g, z)).unflatten(0, (info.batch_size, -1)), 0


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_column_sum", mutates_args=())
def run_column_sum(g: Tensor) -> Tensor:
    """g [V, M, N] -> Σ_m g [V, N]."""
    V, M, N = g.shape
    programs = max(1, min(triton.cdiv(M, SUM_ROWS), SUM_PROGRAMS))
    partials = g.new_empty((V, programs, N), dtype=_wide(g.dtype))
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


class Slope(torch.autograd.Function):
    """g (Φ(z) + z φ(z)) of g and z [M, N]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, z: Tensor) -> Tensor:
        return run_slope(g[None], z[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, z = ctx.saved_tensors
        need_g, need_z = ctx.needs_input_grad
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        return Slope.apply(h, z) if need_g else None, h * g * density * (2 - z.square()) if need_z else None


def _gradients(ctx: Any, x: Tensor, weight: Tensor, delta: Tensor) -> tuple[Tensor | None, ...]:
    """dL/dx, dL/dW and dL/db of delta = dL/dz [B, O], those that are wanted."""
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    return (
        Product.apply(delta, weight.T) if need_x else None,
        Product.apply(x.T, delta) if need_weight else None,
        ColumnSum.apply(delta) if need_bias else None,
    )


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
        return _gradients(ctx, x, weight, g)


class AffineGelu(torch.autograd.Function):
    """GELU of x [B, I] times weight [I, O] plus bias [O], and what it is of; that has no rows unless it is kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        y, z = run_affine_gelu(x[None], weight[None], bias[None], keep)
        return y[0], z[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, weight, _, _ = inputs
        ctx.save_for_backward(x, weight, output[1])
        ctx.set_materialize_grads(False)  # z has a cotangent in second derivatives only

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, of_z: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, z = ctx.saved_tensors
        delta: Tensor | None = None if g is None else Slope.apply(g, z)
        if of_z is not None:
            delta = of_z if delta is None else delta + of_z
        return (None,) * 4 if delta is None else (*_gradients(ctx, x, weight, delta), None)


# apply reads the signature anew at every call, unless it is kept here
for function in (Product, ColumnSum, Slope, Affine, AffineGelu):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(x: Tensor, weight: Tensor, bias: Tensor, *, gelu: int) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, weight, bias))
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y: Tensor
    if gelu:
        y, _ = AffineGelu.apply(rows, weight, bias, torch.is_grad_enabled())
    else:
        y = Affine.apply(rows, weight, bias)
    return y if x.dim() == 2 else y.view(*x.shape[:-1], weight.shape[1])


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(*declared(product_kernel, slope_kernel, column_sum_kernel), *declared_blocks()),
    tunings=TUNINGS,
    style=Style("#E69F00", "X", "-"),
)
