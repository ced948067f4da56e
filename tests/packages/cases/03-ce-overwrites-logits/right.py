"""Kernels: forward keeps softmax - onehot; backward multiplies its rows by the incoming gradient (right)."""

import functools

import torch
import triton
import triton.language as tl

from harness import Kernel, Strategy


@triton.jit
def losses(x, labels, scale, loss, p, V, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    m = at < V
    s = tl.load(scale)
    z = tl.load(x + row * V + at, mask=m, other=0.0) * s
    z = tl.where(m, z, float("-inf"))
    top = tl.max(z, 0)
    e = tl.exp(z - top)
    total = tl.sum(e, 0)
    label = tl.load(labels + row)
    hit = tl.sum(tl.where(at == label, z, 0.0), 0)
    tl.store(loss + row, top + tl.log(total) - hit)
    tl.store(p + row * V + at, e / total - tl.where(at == label, 1.0, 0.0), mask=m)


@triton.jit
def times(p, g, out, stride_g, V, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    m = at < V
    v = tl.load(p + row * V + at, mask=m, other=0.0)
    tl.store(out + row * V + at, v * tl.load(g + row * stride_g), mask=m)


def first_order(backward):
    @functools.wraps(backward)
    def once(ctx, *gradients):
        if torch.is_grad_enabled():
            raise NotImplementedError("first derivatives only")
        return backward(ctx, *gradients)

    return once


class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, labels, scale):
        flat = x.reshape(-1, x.shape[-1]).contiguous()
        lab = labels.reshape(-1).contiguous()
        loss = flat.new_empty(flat.shape[0])
        p = torch.empty_like(flat)
        if flat.numel():
            losses[(flat.shape[0],)](
                flat, lab, scale, loss, p, flat.shape[1], BLOCK=triton.next_power_of_2(flat.shape[1])
            )
        ctx.save_for_backward(flat, p, scale)
        ctx.shape = x.shape
        return loss.view(labels.shape)

    @staticmethod
    @first_order
    def backward(ctx, g):
        x, p, scale = ctx.saved_tensors
        g = g.reshape(-1).contiguous()
        raw = torch.empty_like(p)
        if p.numel():
            times[(p.shape[0],)](
                p, g, raw, 1 if g.numel() > 1 else 0, p.shape[1], BLOCK=triton.next_power_of_2(p.shape[1])
            )
        gs = (raw * x).sum() if ctx.needs_input_grad[2] else None
        gx = None
        if ctx.needs_input_grad[0]:
            out = raw * scale
            gx = out.view(ctx.shape)
        return gx, None, gs


layer = "ce"
P = "*fp32"
strategy = Strategy(
    F.apply,
    devices=("cuda",),
    dtypes=("float32",),
    kernels=(
        Kernel(
            losses,
            ("forward",),
            {"fp32": {"x": P, "labels": "*i64", "scale": P, "loss": P, "p": P, "V": "i32", "BLOCK": 64}},
        ),
        Kernel(times, ("backward",), {"fp32": {"p": P, "g": P, "out": P, "stride_g": "i32", "V": "i32", "BLOCK": 64}}),
    ),
)
