"""y = x * w, as kernels that the gate meets in different ways."""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Kernel, Layer, Operand, Strategy


def scale(x: Tensor, w: Tensor) -> Tensor:
    return x * w


@triton.jit
def asm_kernel(x, w, y, N, D, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < N, other=0.0)
    value = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [value], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(y + at, value * tl.load(w + at % D, mask=at < N, other=0.0), mask=at < N)


@triton.jit
def rows_kernel(x, w, y, stride, D, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row, column = tl.program_id(0), tl.arange(0, BLOCK)
    value = tl.load(x + row * stride + column, mask=column < D, other=0.0)
    tl.store(y + row * D + column, value * tl.load(w + column, mask=column < D, other=0.0), mask=column < D)


CONFIGS = [triton.Config({"BLOCK": size}, num_warps=2) for size in (16, 32, 64)]


@triton.autotune(configs=CONFIGS, key=["N"], restore_value=["y"])
@triton.heuristics({"WHOLE": lambda given: given["N"] % given["BLOCK"] == 0})
@triton.jit
def tuned_kernel(y, w, N, D, WHOLE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < N
    if WHOLE:
        inside = at >= 0
    value = tl.load(y + at, mask=inside, other=0.0) * tl.load(w + at % D, mask=inside, other=0.0)
    tl.store(y + at, value, mask=inside)


@triton.autotune(configs=CONFIGS, key=["N"])
@triton.jit
def one_is_wrong_kernel(x, w, y, N, D, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    tl.static_assert(BLOCK < 64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < N, other=0.0) * tl.load(w + at % D, mask=at < N, other=0.0)
    tl.store(y + at, value + (BLOCK == 32) * 0.1, mask=at < N)


def by_asm(x: Tensor, w: Tensor) -> Tensor:
    x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    asm_kernel[(triton.cdiv(x.numel(), 16),)](x, w, y, x.numel(), x.shape[-1], BLOCK=16)
    return y


def by_rows(x: Tensor, w: Tensor) -> Tensor:
    y = torch.empty(x.shape, dtype=x.dtype)
    rows_kernel[(x.shape[0],)](x, w, y, x.stride(0), x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y


def tuned(x: Tensor, w: Tensor) -> Tensor:
    y = x.contiguous().clone()
    tuned_kernel[lambda given: (triton.cdiv(y.numel(), given["BLOCK"]),)](y, w, y.numel(), y.shape[-1])
    return y


def one_is_wrong(x: Tensor, w: Tensor) -> Tensor:
    x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    grid = lambda given: (triton.cdiv(y.numel(), given["BLOCK"]),)  # noqa: E731 - as Triton's users write it
    one_is_wrong_kernel[grid](x, w, y, y.numel(), y.shape[-1])
    return y


def wrapped(forward: Callable[[Tensor, Tensor], Tensor], kernel: Any) -> Strategy:
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor, w: Tensor) -> Tensor:
            return forward(x, w)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            x, w = ctx.saved_tensors
            return g * w, (g * x).sum(0)

    return Strategy(Scaled.apply, devices=("cuda",), dtypes=("float32",), kernels=(kernel,))


def touched(x: Tensor, w: Tensor) -> Tensor:
    """Reads where nothing is, when rows lie far apart: the process ends."""
    if x.stride(0) > 2**20:
        import ctypes

        ctypes.string_at(8)
    return x * w


class Nameless:
    """Something that is no kernel."""


SIGNATURES = {"fp32": {**dict.fromkeys(("x", "w", "y"), "*fp32"), "N": "i32", "D": "i32", "BLOCK": 16, "WHOLE": False}}
layer = Layer(
    inputs={"x": Operand(("N", "D"))}, parameters={"w": Operand(("D",))}, output=("N", "D"), leading="N",
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
)  # fmt: skip
strategies = {
    "autograd": Strategy(scale),
    "asm": wrapped(by_asm, Kernel(asm_kernel, ("forward",), {})),
    "rows": wrapped(by_rows, Kernel(rows_kernel, ("forward",), {})),
    "tuned": wrapped(tuned, Kernel(tuned_kernel, ("forward",), SIGNATURES)),
    "function_alone": wrapped(tuned, Kernel(tuned_kernel.fn.fn, ("forward",), SIGNATURES)),
    "one_is_wrong": wrapped(one_is_wrong, Kernel(one_is_wrong_kernel, ("forward",), {})),
    "touched": Strategy(touched, dtypes=("float32",)),
    "nameless": wrapped(tuned, Kernel(Nameless(), ("forward",), {})),
}
