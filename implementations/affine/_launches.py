"""How the Triton kernels of the affine map are launched: their tiles, and the signatures to compile ahead of time."""

from typing import Any

import torch
import triton
from torch import Tensor

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
SUM_ROWS, SUM_COLUMNS, SUM_PROGRAMS = 32, 128, 64
PROGRAMS, FEWEST_TERMS = 256, 192
"""The terms of a product are dealt out to as many programs as fill the largest GPUs, if each gets so many of them."""
WARPS = 4
"""Of the kernels that multiply no matrices."""


def tile_of(a: Tensor, b: Tensor) -> Tile:
    """The tile for a product [V, M, K] times [V, K, N]."""
    return TILES[a.dtype][any(size % 16 for size in (*a.shape[1:], b.shape[2]))]


def parts_of(a: Tensor, b: Tensor) -> int:
    """Into how many the terms of a product [V, M, K] times [V, K, N] are dealt out."""
    (V, M, K), N = a.shape, b.shape[2]
    block_m, block_n, *_ = tile_of(a, b)
    tiles: int = V * triton.cdiv(M, block_m) * triton.cdiv(N, block_n)
    return max(1, min(PROGRAMS // max(1, tiles), K // FEWEST_TERMS))


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


def declared(product_kernel: Any, slope_kernel: Any, column_sum_kernel: Any) -> tuple[Kernel, ...]:
    """What the strategy declares; products are compiled with as many warps as their tiles have."""
    products: dict[int, dict[str, Signature]] = {}
    for t, dtype in DTYPES.items():
        for name, signature in _product_signatures(t).items():
            products.setdefault(TILES[dtype]["any sizes" in name][3], {})[name] = signature
    found = [Kernel(product_kernel, ("forward", "backward"), own, {"num_warps": n}) for n, own in products.items()]
    for function, signatures in ((slope_kernel, _slope_signatures), (column_sum_kernel, _sum_signatures)):
        own = {name: s for t in DTYPES for name, s in signatures(t).items()}
        found.append(Kernel(function, ("backward",), own, {"num_warps": WARPS}))
    return tuple(found)
