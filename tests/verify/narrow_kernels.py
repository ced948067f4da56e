"""Small kernels, one an operation, on tensors of a narrow type in Triton's interpreter, each beside torch's own.

Run as a program, with TRITON_INTERPRET=1: a line for each operation that differs, then how many were asked.
"""

import math
import sys

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness.verify.interpreting import quicken
from harness.verify.narrow_floats import widen

SIZE = 64
SPECIAL = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 3.3895e38, -3.3895e38, 9.18e-41, 1e-38, 256.0, 257.0)
"""Among the numbers of every operand: the largest and the smallest bfloat16, and a tie that rounds to even."""


@triton.jit
def add(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.load(a + at) + tl.load(b + at))


@triton.jit
def subtract(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.load(a + at) - tl.load(b + at))


@triton.jit
def multiply(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.load(a + at) * tl.load(b + at))


@triton.jit
def divide(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.load(a + at) / tl.load(b + at))


@triton.jit
def negate(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, -tl.load(a + at))


@triton.jit
def absolute(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.abs(tl.load(a + at)))


@triton.jit
def largest(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.maximum(tl.load(a + at), tl.load(b + at)))


@triton.jit
def smallest_or_nan(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.minimum(tl.load(a + at), tl.load(b + at), propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def clamp(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.clamp(tl.load(a + at), -0.5, 0.5, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def fused(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one = tl.load(a + at)
    tl.store(y + at, tl.fma(one, tl.load(b + at), one))


@triton.jit
def select(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one, other = tl.load(a + at), tl.load(b + at)
    tl.store(y + at, tl.where((one > other) & (one != 1.0) | (other <= 0), one, other))


@triton.jit
def compare(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one, other = tl.load(a + at), tl.load(b + at)
    tl.store(y + at, (one < other).to(tl.float32) + (one == other).to(tl.int32) + (one != other).to(y.dtype.element_ty))


@triton.jit
def constants(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one = tl.load(a + at)
    tl.store(y + at, one * 1.7 + tl.full([N], 0.1, y.dtype.element_ty) - 3 + tl.zeros([N], y.dtype.element_ty))


@triton.jit
def through_exp(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.exp(tl.load(a + at).to(tl.float32)))


@triton.jit
def to_integers(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    small = tl.clamp(tl.load(a + at), -5.0, 5.0).to(y.dtype.element_ty) * 3
    tl.store(y + at, small.to(tl.int32) + at)


@triton.jit
def from_float64(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, (tl.load(a + at).to(tl.float64) / 3).to(y.dtype.element_ty))


@triton.jit
def from_float16(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, (tl.load(a + at).to(tl.float16) / 3).to(y.dtype.element_ty))


@triton.jit
def total(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y, tl.sum(tl.load(a + at, mask=at > 12, other=0.0), 0))


@triton.jit
def top(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one = tl.load(a + at, mask=at > 12, other=-1000.0)
    tl.store(y, tl.max(one, 0))
    tl.store(y + 1, tl.min(tl.load(b + at, mask=at > 12, other=1000.0), 0))
    tl.store(y + 2, tl.argmax(one, 0))


@triton.jit
def running(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.cumsum(tl.load(a + at, mask=at > 12, other=0.0), 0))


@triton.jit
def twice_or_sum(one, other):
    return one + other * 2


@triton.jit
def reduced(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y, tl.reduce(tl.load(a + at, mask=at > 12, other=0.0), 0, twice_or_sum))


@triton.jit
def scanned(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, tl.associative_scan(tl.load(a + at, mask=at > 12, other=0.0), 0, twice_or_sum))


@triton.jit
def product(a, b, y, N: tl.constexpr):
    at = tl.arange(0, 8)
    block = at[:, None] * 8 + at[None, :]
    one = tl.load(a + block, mask=block > 12, other=0.0)
    other = tl.load(b + block, mask=block > 12, other=0.0)
    tl.store(y + block, tl.dot(one, tl.trans(other), input_precision="ieee"))


@triton.jit
def moved(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    one, other = tl.split(tl.reshape(tl.load(a + at), [N // 2, 2]))
    both = tl.reshape(tl.join(other, one), [N])
    tl.store(y + at, both + tl.broadcast_to(tl.load(b + tl.arange(0, 1)), [N]))


@triton.jit
def concatenated(a, b, y, N: tl.constexpr):
    half = tl.arange(0, N // 2)
    tl.store(y + tl.arange(0, N), tl.cat(tl.load(a + half), tl.load(b + half), can_reorder=True))


@triton.jit
def bits(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    signs = tl.load(a + at).to(tl.int16, bitcast=True) ^ -32768
    tl.store(y + at, signs.to(y.dtype.element_ty, bitcast=True))


@triton.jit
def scalars(a, b, y, N: tl.constexpr):
    one, factor = tl.load(a + 20), tl.load(b + 21)
    if one > factor:
        factor = one
    tl.store(y + tl.arange(0, N), tl.load(a + tl.arange(0, N)) * factor)


@triton.jit
def given_scalar(a, b, y, N: tl.constexpr, factor=1.7):
    at = tl.arange(0, N)
    tl.store(y + at, tl.load(a + at) * factor.to(tl.float32))


@triton.jit
def accumulated(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.atomic_add(y + at % 2, tl.load(a + at, mask=at > 12, other=0.0))


@triton.jit
def by_block(a, b, y, N: tl.constexpr):
    source = tl.make_block_ptr(a, (N - 3,), (1,), (0,), (N,), (0,))
    target = tl.make_block_ptr(y, (N - 3,), (1,), (0,), (N,), (0,))
    tl.store(target, tl.load(source, boundary_check=(0,), padding_option="nan") * 2, boundary_check=(0,))


@triton.jit
def described(a, b, y, N: tl.constexpr):
    source = tl.make_tensor_descriptor(a, [4, N // 4], [N // 4, 1], [4, N // 4])
    target = tl.make_tensor_descriptor(y, [4, N // 4], [N // 4, 1], [4, N // 4])
    target.store([0, 0], source.load([0, 0]) * 2)


@triton.jit
def toward_zero(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    wide = tl.load(a + at).to(tl.float32) * 1.01
    tl.store(y + at, wide.to(y.dtype.element_ty, fp_downcast_rounding="rtz"))


@triton.jit
def scaled(a, b, y, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(y + at, (tl.load(a + at).to(tl.float32) * 1.1).to(y.dtype.element_ty))


@triton.jit
def product_of_narrow(a, b, y, N: tl.constexpr):
    at = tl.arange(0, 8)
    block = at[:, None] * 8 + at[None, :]
    one = tl.load(a + block, mask=block > 12, other=0.0)
    other = tl.load(b + block, mask=block > 12, other=0.0)
    tl.store(y + block, tl.dot(one, other).to(y.dtype.element_ty))


def zero(a: Tensor) -> Tensor:
    return a.index_fill(0, torch.arange(13), 0.0)


def rtz(x: Tensor) -> Tensor:
    return (x.view(torch.int32) & -65536).view(torch.float32)


def saturated(x: Tensor, dtype: torch.dtype) -> Tensor:
    largest = torch.finfo(dtype).max
    return (x.clamp(-largest, largest) if dtype in FLOAT8 else x).to(dtype)


def in_order(a: Tensor) -> list[Tensor]:
    """``twice_or_sum`` from the first to each, one after the other."""
    found = [zero(a)[0]]
    for each in zero(a)[1:]:
        found.append(found[-1] + each * 2)
    return found


def accumulation(a: Tensor) -> Tensor:
    found = torch.zeros_like(a)
    for at in range(13, SIZE):
        found[at % 2] += a[at]
    return found


def first(y: Tensor, *values: Tensor) -> Tensor:
    return torch.cat([torch.stack([v.to(y.dtype) for v in values]), torch.zeros_like(y)[len(values) :]])


WANTED = {
    add: lambda a, b: a + b,
    subtract: lambda a, b: a - b,
    multiply: lambda a, b: a * b,
    divide: lambda a, b: a / b,
    negate: lambda a, b: 0 - a,
    absolute: lambda a, b: a.abs(),
    largest: torch.fmax,
    smallest_or_nan: torch.minimum,
    clamp: lambda a, b: a.clamp(-0.5, 0.5),
    fused: lambda a, b: (a.float() * b.float() + a.float()).to(a.dtype),
    select: lambda a, b: torch.where((a > b) & (a != 1.0) | (b <= 0), a, b),
    compare: lambda a, b: (a < b).to(a.dtype) + (a == b).to(a.dtype) + (a != b).to(a.dtype),
    constants: lambda a, b: (a * torch.tensor(1.7).to(a.dtype) + torch.tensor(0.1).to(a.dtype)) - 3 + 0,
    through_exp: lambda a, b: a.float().exp().to(a.dtype),
    to_integers: lambda a, b: (
        (torch.fmin(torch.fmax(a, torch.full_like(a, -5)), torch.full_like(a, 5)) * 3).int() + torch.arange(SIZE)
    ).to(a.dtype),
    from_float64: lambda a, b: (a.double() / 3).to(a.dtype),
    from_float16: lambda a, b: (a.half().float() / 3).to(a.dtype),
    total: lambda a, b: first(a, zero(a).float().sum()),
    top: lambda a, b: first(a, a[13:].max(), b[13:].min(), a[13:].argmax() + 13),
    running: lambda a, b: zero(a).float().cumsum(0).to(a.dtype),
    reduced: lambda a, b: first(a, in_order(a)[-1]),
    scanned: lambda a, b: torch.stack(in_order(a)),
    product: lambda a, b: (zero(a).float().view(8, 8) @ zero(b).float().view(8, 8).T).to(a.dtype).view(-1),
    moved: lambda a, b: a.view(-1, 2).flip(1).reshape(-1) + b[0],
    concatenated: lambda a, b: torch.cat([a[: SIZE // 2], b[: SIZE // 2]]),
    bits: lambda a, b: (a.view(torch.int16) ^ -32768).view(a.dtype),
    scalars: lambda a, b: a * torch.maximum(a[20], b[21]),
    given_scalar: lambda a, b: (a.float() * torch.tensor(1.7)).to(a.dtype),
    accumulated: lambda a, b: accumulation(a),
    by_block: lambda a, b: torch.cat([a[: SIZE - 3] * 2, torch.zeros_like(a)[:3]]),
    described: lambda a, b: a * 2,
    toward_zero: lambda a, b: rtz(a.float() * torch.tensor(1.01)).to(a.dtype),
    scaled: lambda a, b: saturated(a.float() * torch.tensor(1.1), a.dtype),
    product_of_narrow: lambda a, b: saturated(zero(a.float()).view(8, 8) @ zero(b.float()).view(8, 8), a.dtype).view(
        -1
    ),
}
"""By operation, what torch answers."""
ROUNDED = (total, running, product, product_of_narrow, through_exp)
"""Their sums may go in another order."""
BFLOAT16_ALONE = (bits, toward_zero)
EIGHT_BITS = (scaled, product_of_narrow)
FLOAT8 = (torch.float8_e5m2, torch.float8_e4m3fn)


def operands(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(SIZE, generator=generator).to(dtype) for _ in range(2))
    special = torch.tensor(SPECIAL).to(dtype)
    return torch.cat([special, one[13:]]), torch.cat([special.roll(3), other[13:]])


def difference(kernel: object, dtype: torch.dtype) -> str:
    """What an operation answers otherwise than torch, in a line; empty where nothing."""
    a, b = operands(dtype)
    y = torch.zeros(SIZE, dtype=dtype)
    kernel[(1,)](a, b, y, N=SIZE)  # type: ignore[index]
    wanted = WANTED[kernel](a, b)
    tolerance = 4 * torch.finfo(dtype).eps if kernel in ROUNDED else 0.0
    same = torch.isclose(y.float(), wanted.float(), rtol=tolerance, atol=tolerance, equal_nan=True)
    if same.all():
        return ""
    at = int((~same).nonzero()[0])
    return f"{kernel.__name__} {dtype} at {at}: {y[at]} for {a[at]} and {b[at]}, not {wanted[at]}"  # type: ignore[attr-defined]


def asked(dtype: torch.dtype) -> list[object]:
    """The operations that are asked of a type."""
    if dtype in FLOAT8:
        return list(EIGHT_BITS)
    return [k for k in WANTED if dtype is torch.bfloat16 or k not in BFLOAT16_ALONE]


if __name__ == "__main__":
    widen()
    if "quick" in sys.argv:
        quicken()
    questions = [(k, d) for d in (torch.bfloat16, torch.float16, torch.float32, *FLOAT8) for k in asked(d)]
    differences = [text for kernel, dtype in questions if (text := difference(kernel, dtype))]
    print(*differences, f"asked {len(questions)}", sep="\n")
