"""Dots in several precisions, one of which spills on NVIDIA; float64 is claimed without a signature."""

import triton
import triton.language as tl

from harness import Kernel, Strategy


@triton.jit
def dot_kernel(a, b, c, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    m, n = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    x, y = tl.load(a + m * BLOCK + n), tl.load(b + m * BLOCK + n)  # [BLOCK, BLOCK]
    tl.store(c + m * BLOCK + n, tl.dot(x, y, input_precision="ieee" if EXACT else None))


def _signature(t, exact):
    return {"a": f"*{t}", "b": f"*{t}", "c": "*fp32", "EXACT": exact, "BLOCK": 64}


strategy = Strategy(
    lambda x, weight: x * weight,
    dtypes=("float32", "float64"),
    needs=("triton",),
    kernels=(
        Kernel(
            dot_kernel,
            ("forward",),
            {
                "bf16": _signature("bf16", False),
                "careless": _signature("fp32", False),
                "exact": _signature("fp32", True),
            },
        ),
        Kernel(dot_kernel, ("forward",), {"8 warps": _signature("fp32", True)}, {"num_warps": 8}, ("sm_90",)),
    ),
)
