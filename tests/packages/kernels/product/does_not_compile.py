"""A kernel that the compiler refuses."""

import triton
import triton.language as tl

from harness import Kernel, Strategy


@triton.jit
def refused_kernel(x, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK > 64, "the block is too small")
    tl.store(x + tl.arange(0, BLOCK), 0.0)


strategy = Strategy(
    lambda x, weight: x * weight,
    dtypes=("float32",),
    needs=("triton",),
    kernels=(Kernel(refused_kernel, ("forward",), {"fp32": {"x": "*fp32", "BLOCK": 64}}),),
)
