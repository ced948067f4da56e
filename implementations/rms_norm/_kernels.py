"""The Triton kernels of RMSNorm, forward and backward.

x, g and y are [V, N, D], weight and dL/dw [V, D], r (``scale``) [V, N], shares [V, SHARES, D]. A program holds ROWS
rows by COLUMNS: WHOLE rows, or blocks of them one after the other. Where STAGES is 2, the next rows of the backward are
on their way into registers while rows are worked on.
"""

import triton
import triton.language as tl

from implementations.rms_norm import EPS

ADDED = tl.constexpr(EPS)


@triton.jit
def forward_kernel(
    x, weight, y, scale, N, D, x_v, x_n, x_d, w_v, w_d,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(N, ROWS)
    v = (tl.program_id(0) // tiles).to(tl.int64)
    n = (tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
    d = tl.arange(0, COLUMNS).to(tl.int64)  # [COLUMNS]
    wide = scale.dtype.element_ty
    x += v * x_v + n[:, None] * x_n
    weight += v * w_v
    y += (v * N + n[:, None]) * D
    if WHOLE:
        inside = (n < N)[:, None] & (d < D)[None, :]
        tile = tl.load(x + d[None, :] * x_d, mask=inside, other=0.0).to(wide)  # [ROWS, COLUMNS]
        w = tl.load(weight + d * w_d, mask=d < D, other=0.0).to(wide)  # [COLUMNS]
        r = 1 / tl.sqrt(tl.sum(tile * tile, 1) / D + ADDED)  # [ROWS]; rsqrt is approximate in float64
        tl.store(y + d[None, :], (tile * r[:, None] * w[None, :]).to(y.dtype.element_ty), mask=inside)
    else:
        squares = tl.zeros([ROWS, COLUMNS], wide)
        for start in range(0, D, COLUMNS):
            inside = (n < N)[:, None] & (start + d < D)[None, :]
            tile = tl.load(x + (start + d)[None, :] * x_d, mask=inside, other=0.0).to(wide)
            squares += tile * tile
        r = 1 / tl.sqrt(tl.sum(squares, 1) / D + ADDED)
        for start in range(0, D, COLUMNS):
            inside = (n < N)[:, None] & (start + d < D)[None, :]
            tile = tl.load(x + (start + d)[None, :] * x_d, mask=inside, other=0.0).to(wide)
            w = tl.load(weight + (start + d) * w_d, mask=start + d < D, other=0.0).to(wide)
            tl.store(y + (start + d)[None, :], (tile * r[:, None] * w[None, :]).to(y.dtype.element_ty), mask=inside)
    tl.store(scale + v * N + n, r, mask=n < N)


@triton.jit
def _rows(g, x, scale, first, N, D, g_n, g_d, x_n, x_d, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """g and x [ROWS, COLUMNS] and r [ROWS, 1] from row ``first`` on; zeros beyond the last."""
    n = (first + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
    d = tl.arange(0, COLUMNS).to(tl.int64)  # [COLUMNS]
    inside = (n < N)[:, None] & (d < D)[None, :]
    g_tile = tl.load(g + n[:, None] * g_n + d[None, :] * g_d, mask=inside, other=0.0)
    x_tile = tl.load(x + n[:, None] * x_n + d[None, :] * x_d, mask=inside, other=0.0)
    return g_tile, x_tile, tl.load(scale + n, mask=n < N, other=0.0)[:, None]


@triton.jit
def backward_kernel(
    g, x, weight, scale, of_x, shares, N, D, SHARES, g_v, g_n, g_d, x_v, x_n, x_d, w_v, w_d,
    NEED_X: tl.constexpr, NEED_WEIGHT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WHOLE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    v, share = (tl.program_id(0) // SHARES).to(tl.int64), tl.program_id(0) % SHARES
    d = tl.arange(0, COLUMNS).to(tl.int64)  # [COLUMNS]
    wide = scale.dtype.element_ty
    g, x, weight, scale, of_x = g + v * g_v, x + v * x_v, weight + v * w_v, scale + v * N, of_x + v * N * D
    shares += tl.program_id(0).to(tl.int64) * D
    if WHOLE:
        w = tl.load(weight + d * w_d, mask=d < D, other=0.0).to(wide)  # [COLUMNS]
        total = tl.zeros([ROWS, COLUMNS], wide)
        if STAGES > 1:
            next_g, next_x, next_r = _rows(g, x, scale, share * ROWS, N, D, g_n, g_d, x_n, x_d, ROWS, COLUMNS)
        for first in range(share * ROWS, N, SHARES * ROWS):
            n = (first + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
            inside = (n < N)[:, None] & (d < D)[None, :]
            if STAGES > 1:  # the next rows are on their way while these are worked on
                g_tile, x_tile, r = next_g, next_x, next_r
                after = first + SHARES * ROWS
                next_g, next_x, next_r = _rows(g, x, scale, after, N, D, g_n, g_d, x_n, x_d, ROWS, COLUMNS)
            else:
                g_tile, x_tile, r = _rows(g, x, scale, first, N, D, g_n, g_d, x_n, x_d, ROWS, COLUMNS)
            g_tile, x_tile = g_tile.to(wide), x_tile.to(wide)
            normal = x_tile * r  # [ROWS, COLUMNS]
            if NEED_WEIGHT:
                total += g_tile * normal
            if NEED_X:
                slope = g_tile * w[None, :]
                along = tl.sum(slope * normal, 1)[:, None] / D
                at = of_x + n[:, None] * D + d[None, :]
                tl.store(at, (r * (slope - normal * along)).to(of_x.dtype.element_ty), mask=inside)
        if NEED_WEIGHT:
            tl.store(shares + d, tl.sum(total, 0), mask=d < D)
    else:
        for first in range(share * ROWS, N, SHARES * ROWS):
            n = (first + tl.arange(0, ROWS)).to(tl.int64)
            r = tl.load(scale + n, mask=n < N, other=0.0)[:, None]
            total = tl.zeros([ROWS, COLUMNS], wide)
            for start in range(0, D if NEED_X else 0, COLUMNS):
                c = start + d
                inside = (n < N)[:, None] & (c < D)[None, :]
                x_tile = tl.load(x + n[:, None] * x_n + c[None, :] * x_d, mask=inside, other=0.0).to(wide)
                g_tile = tl.load(g + n[:, None] * g_n + c[None, :] * g_d, mask=inside, other=0.0).to(wide)
                w = tl.load(weight + c * w_d, mask=c < D, other=0.0).to(wide)
                total += g_tile * w[None, :] * (x_tile * r)
            along = tl.sum(total, 1)[:, None] / D
            for start in range(0, D, COLUMNS):
                c = start + d
                inside = (n < N)[:, None] & (c < D)[None, :]
                x_tile = tl.load(x + n[:, None] * x_n + c[None, :] * x_d, mask=inside, other=0.0).to(wide)
                g_tile = tl.load(g + n[:, None] * g_n + c[None, :] * g_d, mask=inside, other=0.0).to(wide)
                normal = x_tile * r
                if NEED_X:
                    w = tl.load(weight + c * w_d, mask=c < D, other=0.0).to(wide)
                    at = of_x + n[:, None] * D + c[None, :]
                    slope = r * (g_tile * w[None, :] - normal * along)
                    tl.store(at, slope.to(of_x.dtype.element_ty), mask=inside)
                if NEED_WEIGHT:
                    so_far = tl.load(shares + c, mask=c < D, other=0.0)
                    tl.store(shares + c, so_far + tl.sum(g_tile * normal, 0), mask=c < D)
            tl.debug_barrier()  # the next rows' threads read what these rows' threads have written


@triton.jit
def add_shares_kernel(shares, of_weight, SHARES, D, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    tiles = tl.cdiv(D, COLUMNS)
    v = (tl.program_id(0) // tiles).to(tl.int64)
    d = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)  # [COLUMNS]
    total = tl.zeros([ROWS, COLUMNS], shares.dtype.element_ty)
    for first in range(0, SHARES, ROWS):
        share = first + tl.arange(0, ROWS)  # [ROWS]
        inside = (share < SHARES)[:, None] & (d < D)[None, :]
        total += tl.load(shares + (v * SHARES + share[:, None]) * D + d[None, :], mask=inside, other=0.0)
    tl.store(of_weight + v * D + d, tl.sum(total, 0).to(of_weight.dtype.element_ty), mask=d < D)
