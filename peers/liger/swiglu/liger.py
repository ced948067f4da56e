"""Liger-Kernel's SwiGLU, as its users get it: one Triton kernel a pass between PyTorch's products.

The function of Hsu et al. 2024 (package ``liger-kernel``, BSD 2-clause): silu(a) · b is one op that keeps a and b and
computes silu again backward, where it writes dL/da and dL/db over them. h is kept for the last product: 3·B·H elements
in all. The kernels compute in float32 whatever comes in, so float64 is not claimed.

The gate refuses it: a second backward through one graph is wrong without a word, for the first one has written over a
and b; and second derivatives of it are lost in silence. ``docs/peers.md`` has the verdict, where it could be judged,
and the first of the two in a few lines.
"""

import torch.nn.functional as F
from liger_kernel.ops.swiglu import LigerSiLUMulFunction, _swiglu_backward_kernel, _swiglu_forward_kernel
from torch import Tensor

from harness import Kernel, Strategy


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(LigerSiLUMulFunction.apply(F.linear(x, gate.T), F.linear(x, up.T)), down.T)


strategy = Strategy(
    forward,
    devices=("cuda",),
    dtypes=("float32", "bfloat16"),
    needs=("triton",),
    simplicity=6,
    kernels=(
        Kernel(_swiglu_forward_kernel, passes=("forward",), signatures={}),
        Kernel(_swiglu_backward_kernel, passes=("backward",), signatures={}),
    ),
)
