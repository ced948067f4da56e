"""The products of the affine map whose factors the GPU's copy engine fetches in blocks (sm_90 and later, 16 bits).

As many programs as the card has multiprocessors go over the tiles of the result; while the end of one is written, the
factors of the next are under way. A tile is finished in two halves, so that it takes no second set of registers. What
lies beyond a matrix's end is read as 0 and not written, so any sizes will do; but one axis of a matrix must be dense,
and the other begin at multiples of 16 bytes.
"""

import functools
from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from harness import Dims, Kernel, Tuning, launch_table, target_of

TABLE, GELU_TABLE = (launch_table(__file__, f"{name}_kernel") for name in ("blocks", "gelu_blocks"))
TARGETS = ("sm_90", "sm_100")
DTYPES = {torch.bfloat16: ("bfloat16", "bf16"), torch.float16: ("float16", "fp16")}
ALIGNED = 16  # bytes
PROCESSORS = 2  # of an interpreter


@triton.jit
def _place(tile, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """A tile's first row and column: down GROUP_M tiles before the next column, so that b is met again in L2."""
    down, across = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    first = tile // (GROUP_M * across) * GROUP_M
    rows = tl.minimum(down - first, GROUP_M)
    return (first + tile % (GROUP_M * across) % rows) * BLOCK_M, tile % (GROUP_M * across) // rows * BLOCK_N


@triton.jit
def _product(
    a, b, m, n, K, TURN_A: tl.constexpr, TURN_B: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile of a b; a matrix that is TURNed lies in memory as its transpose."""
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for k in range(0, K, BLOCK_K):
        a_tile = a.load([k, m]).T if TURN_A else a.load([m, k])  # [M, K]
        b_tile = b.load([n, k]).T if TURN_B else b.load([k, n])  # [K, N]
        if WIDEN:  # the interpreter multiplies bfloat16 wrongly
            a_tile, b_tile = a_tile.to(tl.float32), b_tile.to(tl.float32)
        total = tl.dot(a_tile, b_tile, total)
    return total


@triton.jit
def _add_bias(total, bias, bias_n, n, N, BLOCK_N: tl.constexpr):
    at = n + tl.arange(0, BLOCK_N)
    return total + tl.load(bias + at * bias_n, mask=at < N, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _halves(tile, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The left and the right half of a tile's columns."""
    return tl.split(tl.permute(tl.reshape(tile, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1)))


@triton.jit
def blocks_kernel(
    a, b, bias, c, M, N, K, bias_n, TURN_A: tl.constexpr, TURN_B: tl.constexpr, HAS_BIAS: tl.constexpr,
    WIDEN: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        m, n = _place(tile, M, N, BLOCK_M, BLOCK_N, GROUP_M)
        total = _product(a, b, m, n, K, TURN_A, TURN_B, WIDEN, BLOCK_M, BLOCK_N, BLOCK_K)
        if HAS_BIAS:
            total = _add_bias(total, bias, bias_n, n, N, BLOCK_N)
        left, right = _halves(total, BLOCK_M, BLOCK_N)
        c.store([m, n], left.to(c.dtype))
        c.store([m, n + BLOCK_N // 2], right.to(c.dtype))


@triton.jit
def _finish(z_tile, y, z, m, n, KEEP: tl.constexpr):
    if KEEP:
        z.store([m, n], z_tile.to(z.dtype))
    y.store([m, n], (z_tile * (0.5 * (1.0 + tl.erf(z_tile * 0.7071067811865476)))).to(y.dtype))


@triton.jit
def gelu_blocks_kernel(
    a, b, bias, y, z, M, N, K, bias_n, KEEP: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        m, n = _place(tile, M, N, BLOCK_M, BLOCK_N, GROUP_M)
        total = _product(a, b, m, n, K, False, False, WIDEN, BLOCK_M, BLOCK_N, BLOCK_K)
        total = _add_bias(total, bias, bias_n, n, N, BLOCK_N)
        left, right = _halves(total, BLOCK_M, BLOCK_N)
        _finish(left, y, z, m, n, KEEP)
        _finish(right, y, z, m, n + BLOCK_N // 2, KEEP)


def _turned(t: Tensor) -> bool:
    """Whether a matrix lies in memory as its transpose."""
    return t.stride(1) != 1


def _can_be_fetched(t: Tensor) -> bool:
    rows, columns = (t.stride(1), t.stride(0)) if _turned(t) else t.stride()
    return columns == 1 and rows > 0 and rows * t.element_size() % ALIGNED == 0 and t.data_ptr() % ALIGNED == 0


@functools.cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else PROCESSORS


def can_take(a: Tensor, b: Tensor, gelu: bool) -> bool:
    """Whether a product [V, M, K] times [V, K, N] is for these kernels: and has tiles for half the multiprocessors."""
    (V, M, K), N = a.shape, b.shape[2]
    target = target_of(a.device)
    if a.dtype not in DTYPES or V != 1 or 0 in (M, N, K) or target not in (*TARGETS, "interpreter"):
        return False
    launch = (GELU_TABLE if gelu else TABLE).find(target, a.dtype, M * N)
    tiles = triton.cdiv(M, launch["BLOCK_M"]) * triton.cdiv(N, launch["BLOCK_N"])
    fetched = _can_be_fetched(a[0]) and _can_be_fetched(b[0]) and N * a.element_size() % ALIGNED == 0
    return fetched and not (gelu and (_turned(a[0]) or _turned(b[0]))) and 2 * tiles >= _processors(a.device)


def launch_blocks(a: Tensor, b: Tensor, bias: Tensor | None, c: Tensor, z: Tensor | None, gelu: bool) -> None:
    """Fill c [1, M, N] with a [1, M, K] times b [1, K, N] and the bias [1, N], or GELU of it; and z, if it is given."""
    (_, M, K), N = a.shape, b.shape[2]
    launch = dict((GELU_TABLE if gelu else TABLE).find(target_of(a.device), a.dtype, M * N))
    block_m, block_n, block_k = (launch[f"BLOCK_{axis}"] for axis in "MNK")
    programs = min(_processors(a.device), triton.cdiv(M, block_m) * triton.cdiv(N, block_n))
    widen = a.device.type == "cpu" and a.dtype == torch.bfloat16
    first, second = _descriptor(a[0], block_m, block_k), _descriptor(b[0], block_k, block_n)
    third = TensorDescriptor.from_tensor(c[0], [block_m, block_n // 2])
    if gelu:
        assert bias is not None
        kept = third if z is None else TensorDescriptor.from_tensor(z[0], [block_m, block_n // 2])
        gelu_blocks_kernel[(programs,)](
            first, second, bias, third, kept, M, N, K, bias.stride(1), KEEP=z is not None, WIDEN=widen, **launch
        )
    else:
        blocks_kernel[(programs,)](
            first, second, a if bias is None else bias, third, M, N, K, 0 if bias is None else bias.stride(1),
            TURN_A=_turned(a[0]), TURN_B=_turned(b[0]), HAS_BIAS=bias is not None, WIDEN=widen, **launch,
        )  # fmt: skip


def _descriptor(t: Tensor, rows: int, columns: int) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(*((t.T, [columns, rows]) if _turned(t) else (t, [rows, columns])))


Signature = dict[str, str | int | bool]
PRODUCTS = {"y": (False, False, True), "dL/dx": (False, True, False), "dL/dW": (True, False, False)}
"""Which factors are turned, and whether there is a bias."""


def _signature(t: str, config: Mapping[str, int], turn_a: bool, turn_b: bool) -> Signature:
    block_m, block_n, block_k = (config[f"BLOCK_{axis}"] for axis in "MNK")
    shapes = {
        "a": (block_k, block_m) if turn_a else (block_m, block_k),
        "b": (block_n, block_k) if turn_b else (block_k, block_n),
        **dict.fromkeys("cyz", (block_m, block_n // 2)),
    }
    signature: Signature = {name: f"tensordesc<{t}[{rows}, {columns}]>" for name, (rows, columns) in shapes.items()}
    signature |= {"bias": f"*{t}", **dict.fromkeys("MNK", "i32:16"), "bias_n": 1, "WIDEN": False}
    return {**signature, **{name: value for name, value in config.items() if name.isupper()}}


def declared() -> list[Kernel]:
    """Both kernels in every configuration of their tables, for the targets that have them."""
    found = []
    for table, function in ((TABLE, blocks_kernel), (GELU_TABLE, gelu_blocks_kernel)):
        for row in table.rows:
            targets = (row.target,) if row.target in TARGETS else TARGETS
            if row.target == "interpreter":
                continue
            signatures: dict[str, Signature] = {}
            for dtype, t in DTYPES.values():
                if row.dtypes and dtype not in row.dtypes:
                    continue
                size = f"{t} tiles of {row.config['BLOCK_M']} × {row.config['BLOCK_N']}"
                if function is gelu_blocks_kernel:
                    for name, keep in (("y, z", True), ("y", False)):
                        signatures[f"{size}: {name}"] = {**_signature(t, row.config, False, False), "KEEP": keep}
                else:
                    for name, (turn_a, turn_b, has_bias) in PRODUCTS.items():
                        more = {"TURN_A": turn_a, "TURN_B": turn_b, "HAS_BIAS": has_bias}
                        signatures[f"{size}: {name}"] = {**_signature(t, row.config, turn_a, turn_b), **more}
            options = {name: value for name, value in row.config.items() if name.islower()}
            dtypes = tuple(dtype for dtype, _ in DTYPES.values())
            found.append(Kernel(function, (), signatures, options, targets, dtypes))
    return found


def _candidates(size: int, dtype: str) -> list[dict[str, int]]:
    if dtype not in ("bfloat16", "float16"):
        return []
    tiles = ((64, 64, 4), (128, 64, 4), (128, 128, 4), (128, 128, 8), (128, 256, 8), (256, 128, 8))
    return [
        {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "num_warps": warps, "num_stages": stages}
        for m, n, warps in tiles for k in (64, 128) for stages in (3, 4)
        if (m + n) * k * 2 * stages + m * n <= 231_000
    ]  # fmt: skip


def _outputs(dims: Dims) -> int | None:
    return None if dims["gelu"] else dims["B"] * dims["O"]


def _gelu_outputs(dims: Dims) -> int | None:
    return dims["B"] * dims["O"] if dims["gelu"] else None


TUNINGS = (Tuning(TABLE, "forward", _outputs, _candidates), Tuning(GELU_TABLE, "forward", _gelu_outputs, _candidates))
