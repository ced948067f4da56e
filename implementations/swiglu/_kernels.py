"""The Triton kernels of the gated feed-forward layer: products of matrices, and what lies between them.

Operands have a batch axis V of their own and any strides; results are contiguous. A program does one tile [BLOCK_M,
BLOCK_N] of one of V and walks along K by pointers that advance, in 64 bits. Accumulators are float32 (float64 for
float64). Programs go down GROUP_M rows of tiles before the next column, so that tiles are met again in L2.
"""

import triton
import triton.language as tl

SHORT_CHAIN = tl.constexpr(4)
"""Blocks of float32 terms that are added up before they join the total: one chain of thousands is less exact."""


@triton.jit
def _place(M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """A program's v of V, its rows [BLOCK_M] and its columns [BLOCK_N]."""
    down, across = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    v, tile = tl.program_id(0) // (down * across), tl.program_id(0) % (down * across)
    first = tile // (GROUP_M * across) * GROUP_M
    rows = tl.minimum(down - first, GROUP_M)
    m = (first + tile % (GROUP_M * across) % rows) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tile % (GROUP_M * across) // rows * BLOCK_N + tl.arange(0, BLOCK_N)
    return v.to(tl.int64), m, n


@triton.jit
def _load(at, inside, WIDEN: tl.constexpr):
    tile = tl.load(at, mask=inside, other=0.0)
    return tile.to(tl.float32) if WIDEN else tile  # the interpreter multiplies bfloat16 wrongly


@triton.jit
def _store(c, tile, v, m, n, M, N):
    at = c + (v * M + m[:, None]) * N + n[None, :]
    tl.store(at, tile.to(c.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])


@triton.jit
def _begun(total, CHAIN: tl.constexpr):
    return total if CHAIN == 1 else tl.zeros_like(total)


@triton.jit
def _ended(total, part, CHAIN: tl.constexpr):
    return part if CHAIN == 1 else total + part


@triton.jit
def _add_product(
    total, a, b, m, n, M, N, K, a_m, a_k, b_k, b_n, BLOCK_K: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """total + a b of a tile."""
    CHAIN: tl.constexpr = SHORT_CHAIN if a.dtype.element_ty == tl.float32 else 1
    k = tl.arange(0, BLOCK_K)
    a += m[:, None].to(tl.int64) * a_m + k[None, :].to(tl.int64) * a_k  # [M, K]
    b += k[:, None].to(tl.int64) * b_k + n[None, :].to(tl.int64) * b_n  # [K, N]
    block = tl.full([], BLOCK_K, tl.int64)
    for start in range(0, K, CHAIN * BLOCK_K):
        part = _begun(total, CHAIN)
        for link in tl.static_range(CHAIN):
            left = K - start - link * BLOCK_K
            a_tile = _load(a, (m < M)[:, None] & (k < left)[None, :], WIDEN)
            b_tile = _load(b, (k < left)[:, None] & (n < N)[None, :], WIDEN)
            part = tl.dot(a_tile, b_tile, part, input_precision="ieee", out_dtype=total.dtype)
            a += block * a_k
            b += block * b_k
        total = _ended(total, part, CHAIN)
    return total


@triton.jit
def product_kernel(
    a, b, more_a, more_b, c, M, N, K, a_v, a_m, a_k, b_v, b_k, b_n, more_v, more_k, more_n,
    MORE: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """c = a b, or a b + more_a more_b of the same sizes, more_a with a's strides."""
    v, m, n = _place(M, N, BLOCK_M, BLOCK_N, GROUP_M)
    wide: tl.constexpr = tl.float64 if a.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros([BLOCK_M, BLOCK_N], wide)
    total = _add_product(total, a + v * a_v, b + v * b_v, m, n, M, N, K, a_m, a_k, b_k, b_n, BLOCK_K, WIDEN)
    if MORE:
        more_a, more_b = more_a + v * a_v, more_b + v * more_v
        total = _add_product(total, more_a, more_b, m, n, M, N, K, a_m, a_k, more_k, more_n, BLOCK_K, WIDEN)
    _store(c, total, v, m, n, M, N)


@triton.jit
def twin_kernel(
    x, gate, up, a, b, h, M, N, K, x_v, x_m, x_k, gate_v, gate_k, gate_n, up_v, up_k, up_n,
    GATED: tl.constexpr, KEEP: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """a = x gate and b = x up, where they are to be KEEPt; where it is GATED, h = silu(a) b."""
    v, m, n = _place(M, N, BLOCK_M, BLOCK_N, GROUP_M)
    wide: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    k = tl.arange(0, BLOCK_K)
    x += v * x_v + m[:, None].to(tl.int64) * x_m + k[None, :].to(tl.int64) * x_k  # [M, K]
    gate += v * gate_v + k[:, None].to(tl.int64) * gate_k + n[None, :].to(tl.int64) * gate_n  # [K, N]
    up += v * up_v + k[:, None].to(tl.int64) * up_k + n[None, :].to(tl.int64) * up_n  # [K, N]
    block = tl.full([], BLOCK_K, tl.int64)
    CHAIN: tl.constexpr = SHORT_CHAIN if h.dtype.element_ty == tl.float32 else 1
    a_tile, b_tile = tl.zeros([BLOCK_M, BLOCK_N], wide), tl.zeros([BLOCK_M, BLOCK_N], wide)
    for start in range(0, K, CHAIN * BLOCK_K):
        a_part, b_part = _begun(a_tile, CHAIN), _begun(b_tile, CHAIN)
        for link in tl.static_range(CHAIN):
            left = K - start - link * BLOCK_K
            inside = (k < left)[:, None] & (n < N)[None, :]
            x_tile = _load(x, (m < M)[:, None] & (k < left)[None, :], WIDEN)
            gate_tile, up_tile = _load(gate, inside, WIDEN), _load(up, inside, WIDEN)
            a_part = tl.dot(x_tile, gate_tile, a_part, input_precision="ieee", out_dtype=wide)
            b_part = tl.dot(x_tile, up_tile, b_part, input_precision="ieee", out_dtype=wide)
            x += block * x_k
            gate += block * gate_k
            up += block * up_k
        a_tile, b_tile = _ended(a_tile, a_part, CHAIN), _ended(b_tile, b_part, CHAIN)
    if KEEP:
        _store(a, a_tile, v, m, n, M, N)
        _store(b, b_tile, v, m, n, M, N)
    if GATED:
        _store(h, a_tile * tl.sigmoid(a_tile) * b_tile, v, m, n, M, N)


@triton.jit
def slope_kernel(
    slope, a, b, h, of_b, elements, NEED_A: tl.constexpr, NEED_B: tl.constexpr, NEED_H: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """h again, and from its slope dL/dh those of b and of a, the latter in dL/dh's place; all [elements]."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < elements
    wide: tl.constexpr = tl.float64 if a.dtype.element_ty == tl.float64 else tl.float32
    a_block = tl.load(a + at, mask=inside, other=0.0).to(wide)
    b_block = tl.load(b + at, mask=inside, other=0.0).to(wide)
    sigmoid = tl.sigmoid(a_block)
    silu = a_block * sigmoid
    if NEED_H:
        tl.store(h + at, (silu * b_block).to(h.dtype.element_ty), mask=inside)
    if NEED_A or NEED_B:
        of_h = tl.load(slope + at, mask=inside, other=0.0).to(wide)
        if NEED_B:
            tl.store(of_b + at, (of_h * silu).to(of_b.dtype.element_ty), mask=inside)
        if NEED_A:
            of_a = of_h * b_block * (sigmoid + silu * (1 - sigmoid))
            tl.store(slope + at, of_a.to(slope.dtype.element_ty), mask=inside)
