"""The Triton kernels of the decay attention, forward and backward.

Logits are kept in base 2, so that no program multiplies by log₂ e: s = q·k log₂ e / √D − a log₂(1 + r Δ), p = 2^(s − l)
with l the row's log₂-sum-exp₂. All operands are contiguous [N, H, T, D] (D a power of two or masked to one), t is
[N, T], amplitude and rate are [V, H] with V dividing N. A program does one tile of one head; tiles that lie in the
future are never visited, and only those on the diagonal are masked. Heavy tiles come first.
"""

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def _tile(index, T, BLOCK: tl.constexpr):
    """A program's head (of N·H) and its tile of T, the last tile first."""
    tiles = tl.cdiv(T, BLOCK)
    return (index // tiles).to(tl.int64), (tiles - 1 - index % tiles) * BLOCK


@triton.jit
def _load_rows(
    pointer, rows, T, D: tl.constexpr, BLOCK_D: tl.constexpr, WIDEN: tl.constexpr = False, ENDS: tl.constexpr = True
):
    """Rows of a head's slab [T, D] as [len(rows), BLOCK_D], 0 beyond its end, if it ENDS among them."""
    d = tl.arange(0, BLOCK_D)
    at = pointer + rows[:, None] * D + d[None, :]
    if ENDS:
        tile = tl.load(at, mask=(rows < T)[:, None] & (d < D)[None, :], other=0.0)
    elif D < BLOCK_D:
        tile = tl.load(at, mask=(d < D)[None, :], other=0.0)
    else:
        tile = tl.load(at)
    return tile.to(tl.float32) if WIDEN else tile  # the interpreter multiplies bfloat16 wrongly


@triton.jit
def _load_each(pointer, rows, T, ENDS: tl.constexpr = True):
    """A number for each row, 0 beyond the end."""
    return tl.load(pointer + rows, mask=rows < T, other=0.0) if ENDS else tl.load(pointer + rows)


@triton.jit
def _store_rows(pointer, tile, rows, T, D: tl.constexpr, BLOCK_D: tl.constexpr):
    d = tl.arange(0, BLOCK_D)
    inside = (rows < T)[:, None] & (d < D)[None, :]
    tl.store(pointer + rows[:, None] * D + d[None, :], tile.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _grown(t_query, t_key, rate):
    """Gaps and 1 + r Δ of a tile, from time stamps that broadcast to it."""
    gaps = t_query - t_key
    gaps = tl.where(gaps < 0.0, 0.0, gaps)  # a maximum would drop NaN
    return gaps, 1.0 + rate * gaps


@triton.jit
def _log2(grown, FAST: tl.constexpr):
    """By the card's own instruction, right to 22 bits, where it is to be FAST; else to the last bit but one."""
    return libdevice.fast_log2f(grown) if FAST else tl.log2(grown)


@triton.jit
def _forward_step(
    total, top, mass, q, k, v, t, t_rows, start, rows, T, amplitude, rate,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, WIDEN: tl.constexpr, FAST: tl.constexpr,
    DIAGONAL: tl.constexpr,
):  # fmt: skip
    keys = start + tl.arange(0, BLOCK_N)
    k_tile = _load_rows(k, keys, T, D, BLOCK_D, WIDEN, DIAGONAL)  # [N, D]
    t_keys = _load_each(t, keys, T, DIAGONAL).to(total.dtype)
    _, grown = _grown(t_rows[:, None], t_keys[None, :], rate)
    products = tl.dot(q, tl.trans(k_tile), input_precision="ieee", out_dtype=total.dtype)
    s = products * (1.4426950408889634 / D**0.5) - amplitude * _log2(grown, FAST)  # [M, N]
    if DIAGONAL:
        s = tl.where(keys[None, :] <= rows[:, None], s, float("-inf"))
    higher = tl.maximum(top, tl.max(s, 1))
    p = tl.exp2(s - higher[:, None])
    shrink = tl.exp2(top - higher)
    v_tile = _load_rows(v, keys, T, D, BLOCK_D, WIDEN, DIAGONAL)
    total = tl.dot(p.to(v_tile.dtype), v_tile, total * shrink[:, None], input_precision="ieee", out_dtype=total.dtype)
    return total, higher, mass * shrink + tl.sum(p, 1)


@triton.jit
def forward_kernel(
    q, k, v, t, amplitude, rate, y, rest, sums, T, H, share,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDEN: tl.constexpr,
    FAST: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    head, first = _tile(tl.program_id(0), T, BLOCK_M)
    wide: tl.constexpr = sums.dtype.element_ty
    n = head // H
    a = tl.load(amplitude + n // share * H + head % H).to(wide)
    r = tl.load(rate + n // share * H + head % H).to(wide)
    k, v, t = k + head * T * D, v + head * T * D, t + n * T
    rows = first + tl.arange(0, BLOCK_M)
    q_tile = _load_rows(q + head * T * D, rows, T, D, BLOCK_D, WIDEN)  # [M, D]
    t_rows = _load_each(t, rows, T).to(wide)
    total = tl.zeros([BLOCK_M, BLOCK_D], wide)
    top, mass = tl.full([BLOCK_M], float("-inf"), wide), tl.zeros([BLOCK_M], wide)
    for start in range(0, first, BLOCK_N):
        total, top, mass = _forward_step(
            total, top, mass, q_tile, k, v, t, t_rows, start, rows, T, a, r, D, BLOCK_D, BLOCK_N, WIDEN, FAST, False
        )
    for start in tl.range(first, tl.minimum(first + BLOCK_M, T), BLOCK_N, num_stages=1):
        total, top, mass = _forward_step(
            total, top, mass, q_tile, k, v, t, t_rows, start, rows, T, a, r, D, BLOCK_D, BLOCK_N, WIDEN, FAST, True
        )
    y_tile = total / mass[:, None]  # [M, D]
    _store_rows(y + head * T * D, y_tile, rows, T, D, BLOCK_D)
    if REST:
        rounded = y_tile.to(y.dtype.element_ty).to(wide)
        _store_rows(rest + head * T * D, y_tile - rounded, rows, T, D, BLOCK_D)
    tl.store(sums + head * T + rows, top + tl.log2(mass), mask=rows < T)


@triton.jit
def delta_kernel(
    y, rest, g, delta, rows, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, REST: tl.constexpr
):
    """Σ_d y g of each row of [rows, D], with what rounding took from y where it was kept."""
    wide: tl.constexpr = delta.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    y_tile = _load_rows(y, row, rows, D, BLOCK_D).to(wide)  # [M, D]
    g_tile = _load_rows(g, row, rows, D, BLOCK_D).to(wide)
    if REST:
        y_tile += _load_rows(rest, row, rows, D, BLOCK_D).to(wide)
    tl.store(delta + row, tl.sum(y_tile * g_tile, 1), mask=row < rows)


@triton.jit
def _slope(p, s_off, dp, delta, certain):
    """ds of a tile; exactly 0 where a row looks at one key alone (p is 1 within the rounding of its exponent)."""
    return tl.where(s_off >= certain, 0.0, p * (dp - delta))


@triton.jit
def _certain(sums):
    """How near to 0 an exponent s − l is rounded: four spacings of l."""
    eps: tl.constexpr = 8.9e-16 if sums.dtype == tl.float64 else 4.8e-7
    return -eps * tl.maximum(tl.abs(sums), 1.0)


@triton.jit
def _key_step(
    dk, dv, k_tile, v_tile, t_keys, keys, q, g, sums, delta, t, start, T, amplitude, rate,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, WIDEN: tl.constexpr, FAST: tl.constexpr,
    DIAGONAL: tl.constexpr, NEED_K: tl.constexpr, NEED_V: tl.constexpr,
):  # fmt: skip
    rows = start + tl.arange(0, BLOCK_M)
    q_tile = _load_rows(q, rows, T, D, BLOCK_D, WIDEN)  # [M, D]
    t_rows = _load_each(t, rows, T).to(dk.dtype)
    l_rows = _load_each(sums, rows, T)
    _, grown = _grown(t_rows[None, :], t_keys[:, None], rate)
    products = tl.dot(k_tile, tl.trans(q_tile), input_precision="ieee", out_dtype=dk.dtype)
    s_off = products * (1.4426950408889634 / D**0.5) - amplitude * _log2(grown, FAST) - l_rows[None, :]  # [N, M]
    if DIAGONAL:
        s_off = tl.where(keys[:, None] <= rows[None, :], s_off, float("-inf"))
    p = tl.exp2(s_off)
    g_tile = _load_rows(g, rows, T, D, BLOCK_D, WIDEN)  # [M, D]
    if NEED_V:
        dv = tl.dot(p.to(g_tile.dtype), g_tile, dv, input_precision="ieee", out_dtype=dv.dtype)
    if NEED_K:
        d_rows = _load_each(delta, rows, T)
        dp = tl.dot(v_tile, tl.trans(g_tile), input_precision="ieee", out_dtype=dk.dtype)
        ds = _slope(p, s_off, dp, d_rows[None, :], _certain(l_rows)[None, :])
        dk = tl.dot(ds.to(q_tile.dtype), q_tile, dk, input_precision="ieee", out_dtype=dk.dtype)
    return dk, dv


@triton.jit
def key_kernel(
    q, k, v, t, amplitude, rate, g, sums, delta, dk, dv, T, H, share,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDEN: tl.constexpr,
    FAST: tl.constexpr, NEED_K: tl.constexpr, NEED_V: tl.constexpr,
):  # fmt: skip
    """dk and dv of a tile of keys: over the queries that see them."""
    tiles = tl.cdiv(T, BLOCK_N)
    head, first = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles * BLOCK_N
    wide: tl.constexpr = sums.dtype.element_ty
    n = head // H
    a = tl.load(amplitude + n // share * H + head % H).to(wide)
    r = tl.load(rate + n // share * H + head % H).to(wide)
    q, g, t = q + head * T * D, g + head * T * D, t + n * T
    sums, delta = sums + head * T, delta + head * T
    keys = first + tl.arange(0, BLOCK_N)
    k_tile = _load_rows(k + head * T * D, keys, T, D, BLOCK_D, WIDEN)  # [N, D]
    v_tile = _load_rows(v + head * T * D, keys, T, D, BLOCK_D, WIDEN)
    t_keys = _load_each(t, keys, T).to(wide)
    dk_tile, dv_tile = tl.zeros([BLOCK_N, BLOCK_D], wide), tl.zeros([BLOCK_N, BLOCK_D], wide)
    for start in tl.range(first, tl.minimum(first + BLOCK_N, T), BLOCK_M, num_stages=1):
        dk_tile, dv_tile = _key_step(
            dk_tile, dv_tile, k_tile, v_tile, t_keys, keys, q, g, sums, delta, t, start, T, a, r,
            D, BLOCK_D, BLOCK_M, WIDEN, FAST, True, NEED_K, NEED_V,
        )  # fmt: skip
    for start in range(first + BLOCK_N, T, BLOCK_M):
        dk_tile, dv_tile = _key_step(
            dk_tile, dv_tile, k_tile, v_tile, t_keys, keys, q, g, sums, delta, t, start, T, a, r,
            D, BLOCK_D, BLOCK_M, WIDEN, FAST, False, NEED_K, NEED_V,
        )  # fmt: skip
    if NEED_K:
        _store_rows(dk + head * T * D, dk_tile * (1 / D**0.5), keys, T, D, BLOCK_D)
    if NEED_V:
        _store_rows(dv + head * T * D, dv_tile, keys, T, D, BLOCK_D)


@triton.jit
def _query_step(
    dq, of_a, of_r, q_tile, g_tile, t_rows, l_rows, d_rows, rows, k, v, t, start, T, amplitude, rate,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, WIDEN: tl.constexpr, FAST: tl.constexpr,
    DIAGONAL: tl.constexpr, NEED_Q: tl.constexpr, NEED_A: tl.constexpr, NEED_R: tl.constexpr,
):  # fmt: skip
    keys = start + tl.arange(0, BLOCK_N)
    k_tile = _load_rows(k, keys, T, D, BLOCK_D, WIDEN, DIAGONAL)  # [N, D]
    v_tile = _load_rows(v, keys, T, D, BLOCK_D, WIDEN, DIAGONAL)
    t_keys = _load_each(t, keys, T, DIAGONAL).to(dq.dtype)
    gaps, grown = _grown(t_rows[:, None], t_keys[None, :], rate)
    logs = _log2(grown, FAST)
    products = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee", out_dtype=dq.dtype)
    s_off = products * (1.4426950408889634 / D**0.5) - amplitude * logs - l_rows[:, None]  # [M, N]
    if DIAGONAL:
        s_off = tl.where(keys[None, :] <= rows[:, None], s_off, float("-inf"))
    dp = tl.dot(g_tile, tl.trans(v_tile), input_precision="ieee", out_dtype=dq.dtype)
    ds = _slope(tl.exp2(s_off), s_off, dp, d_rows[:, None], _certain(l_rows)[:, None])
    if NEED_A:
        of_a += tl.sum(ds * logs, 1)
    if NEED_R:
        of_r += tl.sum(ds * (gaps / grown), 1)
    if NEED_Q:
        dq = tl.dot(ds.to(k_tile.dtype), k_tile, dq, input_precision="ieee", out_dtype=dq.dtype)
    return dq, of_a, of_r


@triton.jit
def query_kernel(
    q, k, v, t, amplitude, rate, g, sums, delta, dq, partials, T, H, share,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDEN: tl.constexpr,
    FAST: tl.constexpr, NEED_Q: tl.constexpr, NEED_A: tl.constexpr, NEED_R: tl.constexpr,
):  # fmt: skip
    """dq of a tile of queries, and its share of the gradients of amplitude and rate: a row of partials [2]."""
    head, first = _tile(tl.program_id(0), T, BLOCK_M)
    wide: tl.constexpr = sums.dtype.element_ty
    n = head // H
    a = tl.load(amplitude + n // share * H + head % H).to(wide)
    r = tl.load(rate + n // share * H + head % H).to(wide)
    k, v, t = k + head * T * D, v + head * T * D, t + n * T
    rows = first + tl.arange(0, BLOCK_M)
    q_tile = _load_rows(q + head * T * D, rows, T, D, BLOCK_D, WIDEN)  # [M, D]
    g_tile = _load_rows(g + head * T * D, rows, T, D, BLOCK_D, WIDEN)
    t_rows = _load_each(t, rows, T).to(wide)
    l_rows = _load_each(sums + head * T, rows, T)
    d_rows = _load_each(delta + head * T, rows, T)
    dq_tile = tl.zeros([BLOCK_M, BLOCK_D], wide)
    of_a, of_r = tl.zeros([BLOCK_M], wide), tl.zeros([BLOCK_M], wide)
    for start in range(0, first, BLOCK_N):
        dq_tile, of_a, of_r = _query_step(
            dq_tile, of_a, of_r, q_tile, g_tile, t_rows, l_rows, d_rows, rows, k, v, t, start, T, a, r,
            D, BLOCK_D, BLOCK_N, WIDEN, FAST, False, NEED_Q, NEED_A, NEED_R,
        )  # fmt: skip
    for start in tl.range(first, tl.minimum(first + BLOCK_M, T), BLOCK_N, num_stages=1):
        dq_tile, of_a, of_r = _query_step(
            dq_tile, of_a, of_r, q_tile, g_tile, t_rows, l_rows, d_rows, rows, k, v, t, start, T, a, r,
            D, BLOCK_D, BLOCK_N, WIDEN, FAST, True, NEED_Q, NEED_A, NEED_R,
        )  # fmt: skip
    if NEED_Q:
        _store_rows(dq + head * T * D, dq_tile * (1 / D**0.5), rows, T, D, BLOCK_D)
    if NEED_A or NEED_R:
        at = partials + 2 * (head * tl.cdiv(T, BLOCK_M) + first // BLOCK_M)
        tl.store(at, tl.sum(of_a, 0) * -0.6931471805599453)  # logs are in base 2
        tl.store(at + 1, tl.sum(of_r, 0) * -a)
