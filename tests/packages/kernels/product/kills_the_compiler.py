"""A kernel that takes the process down when it is to be compiled."""

import os

import triton
import triton.language as tl

from harness import Kernel, Strategy


class Deadly(dict):
    def __getitem__(self, name):
        os.abort()


@triton.jit
def deadly_kernel(x):
    tl.store(x, 0.0)


strategy = Strategy(
    lambda x, weight: x * weight,
    dtypes=("float32",),
    needs=("triton",),
    kernels=(Kernel(deadly_kernel, ("forward",), Deadly(fp32={"x": "*fp32"})),),
)
