"""Liger-Kernel's RMSNorm, as its users get it: one Triton kernel a pass, r kept beside x.

The function of Hsu et al. 2024 (package ``liger-kernel``, BSD 2-clause) with its own defaults: casting mode ``llama``
(r in float32, the product with the weight in the inputs' dtype) and ``in_place=True``: backward writes dL/dx over the
gradient that it is given. It keeps N·D + N + D elements and gets by without another N·D backward. The sums are
float32 whatever comes in, so float64 is not claimed.

The gate refuses it: what else has the same gradient in hand, a residual ``norm(x) + x`` for one, goes on with dL/dx
instead, without a word; and second derivatives of it are lost in silence. ``docs/peers.md`` has both in a few lines.
"""

import torch.distributed.tensor  # noqa: F401 - the function uses it, and before 0.8 does not import it
import triton
import triton.language as tl
from liger_kernel.ops import rms_norm
from torch import Tensor

from harness import Kernel, Strategy

EPS = 1e-6

if triton.knobs.runtime.interpret:  # which has no libdevice, where the kernel's own rsqrt is from
    rms_norm.rsqrt = lambda x: tl.rsqrt(x)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    return rms_norm.LigerRMSNormFunction.apply(x, weight, EPS)


strategy = Strategy(
    forward,
    devices=("cuda",),
    dtypes=("float32", "bfloat16"),
    needs=("triton",),
    simplicity=6,
    kernels=(
        Kernel(rms_norm._rms_norm_forward_kernel, passes=("forward",), signatures={}),
        Kernel(rms_norm._rms_norm_backward_kernel, passes=("backward",), signatures={}),
    ),
)
