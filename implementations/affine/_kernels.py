"""Triton kernels of the affine map: the product with its epilogue, GELU's slope, the column sum; and their signatures.

Offsets are 64 bits wide, loads are masked, and what lies outside counts as 0.
"""

import torch
import triton
import triton.language as tl

from harness import Kernel

Tile = tuple[int, int, int, int]
"""BLOCK_M, BLOCK_N, BLOCK_K and warps of a product."""
TILES: dict[torch.dtype, tuple[Tile, Tile]] = {
    torch.float64: ((64, 32, 16, 4), (64, 32, 16, 4)),
    torch.float32: ((64, 64, 16, 4), (64, 64, 16, 4)),
    torch.bfloat16: ((128, 128, 64, 8), (64, 64, 32, 4)),
    torch.float16: ((128, 128, 64, 8), (64, 64, 32, 4)),
}
"""Where all sizes are multiples of 16, and where not: then each number has an address, and these take the registers.
Without tensor cores, as float32 products are, every factor passes through registers: a BLOCK_K of 32 would spill."""
GROUP_M = 8
SLOPE_ROWS, SLOPE_COLUMNS = 16, 128
SUM_ROWS, SUM_COLUMNS = 32, 128
WARPS = 4
"""Of the kernels that multiply no matrices."""


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
        tile = tl.load(g + v * g_v + m[:, None] * g_m + n[None, :] * g_n, mask=inside, other=0.0)
        total += tile.to(total.dtype)
    tl.store(partials + (v * programs + program) * N + n, tl.sum(total, 0), mask=n < N)


Signature = dict[str, str | int | bool]
DTYPES = dict(zip(("fp64", "fp32", "bf16", "fp16"), TILES, strict=True))


def _product_signatures(t: str) -> dict[str, Signature]:
    """Each use of the product where sizes are multiples of 16, and two forwards at any sizes."""
    found: dict[str, Signature] = {}
    for name, step, ones in (
        ("y", ":16", ("a_k", "b_n")), ("y, gelu", ":16", ("a_k", "b_n")), ("y, gelu, no z", ":16", ("a_k", "b_n")),
        ("dL/dx", ":16", ("a_k", "b_k")), ("dL/dW", ":16", ("a_m", "b_n")), ("dL/dW, parts", ":16", ("a_m", "b_n")),
        ("y, any sizes", "", ("a_k", "b_n")), ("y, gelu, any sizes", "", ("a_k", "b_n")),
    ):  # fmt: skip
        block_m, block_n, block_k, _ = TILES[DTYPES[t]][not step]
        signature: Signature = dict.fromkeys(("a", "b", "bias", "c", "z"), f"*{t}")
        if "parts" in name and t != "fp64":
            signature |= {"c": "*fp32", "z": "*fp32"}
        signature |= dict.fromkeys("MNK", f"i32{step}")
        signature |= dict.fromkeys(("a_v", "a_m", "a_k", "b_v", "b_k", "b_n", "bias_v"), f"i64{step}")
        signature |= {
            **dict.fromkeys((*ones, "bias_n"), 1), "HAS_BIAS": name[0] == "y", "GELU": "gelu" in name,
            "KEEP": "gelu" in name and "no z" not in name, "WIDEN": False,
            "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k, "GROUP_M": GROUP_M,
        }  # fmt: skip
        found[f"{t} {name}"] = signature
    return found


def _slope_signatures(t: str) -> dict[str, Signature]:
    """Sizes that are multiples of 16, and any."""
    return {
        t + name: {
            **dict.fromkeys(("g", "z", "delta"), f"*{t}"), **dict.fromkeys("MN", f"i32{step}"),
            **dict.fromkeys(("g_v", "g_m", "z_v", "z_m"), f"i64{step}"), "g_n": 1, "z_n": 1,
            "ROWS": SLOPE_ROWS, "COLUMNS": SLOPE_COLUMNS,
        }
        for name, step in (("", ":16"), (", any sizes", ""))
    }  # fmt: skip


def _sum_signatures(t: str) -> dict[str, Signature]:
    """Sizes that are multiples of 16, and any."""
    return {
        t + name: {
            "g": f"*{t}", "partials": "*fp64" if t == "fp64" else "*fp32", **dict.fromkeys("MN", f"i32{step}"),
            "g_v": f"i64{step}", "g_m": f"i64{step}", "g_n": 1, "ROWS": SUM_ROWS, "COLUMNS": SUM_COLUMNS,
        }
        for name, step in (("", ":16"), (", any sizes", ""))
    }  # fmt: skip


def kernels() -> list[Kernel]:
    """What the strategy declares; products are compiled with as many warps as their tiles have."""
    products: dict[int, dict[str, Signature]] = {}
    for t, dtype in DTYPES.items():
        for name, signature in _product_signatures(t).items():
            products.setdefault(TILES[dtype]["any sizes" in name][3], {})[name] = signature
    found = [Kernel(product_kernel, ("forward", "backward"), own, {"num_warps": n}) for n, own in products.items()]
    for function, signatures in ((slope_kernel, _slope_signatures), (column_sum_kernel, _sum_signatures)):
        own = {name: s for t in DTYPES for name, s in signatures(t).items()}
        found.append(Kernel(function, ("backward",), own, {"num_warps": WARPS}))
    return found
