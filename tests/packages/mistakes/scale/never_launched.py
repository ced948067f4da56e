"""Declares a Triton kernel and computes without it."""

import triton

from harness import Kernel, Strategy


@triton.jit
def scale_kernel(x, weight, y):
    pass


def forward(x, weight):
    return x * weight


strategy = Strategy(forward, kernels=(Kernel(scale_kernel, ("forward",), {}),))
