"""Row kernels; backward wrong."""

import functools

import torch
import triton
import triton.language as tl

from harness import Kernel, Strategy


@triton.jit
def rows(a, w, y, stride, features, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    m = at < features
    v = tl.load(a + row * stride + at, mask=m, other=0.0)
    s = tl.load(w + at, mask=m, other=0.0)
    tl.store(y + row * features + at, v * s, mask=m)


def launch(a, w, y, stride):
    n, d = y.shape
    if n and d:
        rows[(n,)](a, w, y, stride, d, BLOCK=triton.next_power_of_2(d))


def first_order(backward):
    @functools.wraps(backward)
    def once(ctx, *gradients):
        if torch.is_grad_enabled():
            raise NotImplementedError("first derivatives only")
        return backward(ctx, *gradients)

    return once


class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        shape = x.shape
        x = x.reshape(-1, shape[-1]).contiguous()
        w = w.contiguous()
        y = torch.empty_like(x)
        launch(x, w, y, x.stride(0))
        ctx.save_for_backward(x, w)
        return y.view(shape)

    @staticmethod
    @first_order
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        shape = g.shape
        g = g
        gx = gw = None
        if ctx.needs_input_grad[0]:
            gx = torch.empty_like(x)
            launch(g, w, gx, x.stride(0))
            gx = gx.view(shape)
        if ctx.needs_input_grad[1]:
            gw = (g.reshape(x.shape) * x).sum(0)
        return gx, gw


layer = "gain"
strategy = Strategy(
    F.apply,
    devices=("cuda",),
    dtypes=("float32",),
    kernels=(
        Kernel(
            rows,
            ("forward", "backward"),
            {"fp32": {"a": "*fp32", "w": "*fp32", "y": "*fp32", "stride": "i32", "features": "i32", "BLOCK": 64}},
        ),
    ),
)
