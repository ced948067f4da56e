"""right"""

import functools

import torch

from harness import Strategy


def first_order(backward):
    @functools.wraps(backward)
    def once(ctx, *gradients):
        if torch.is_grad_enabled():
            raise NotImplementedError("first derivatives only")
        return backward(ctx, *gradients)

    return once


class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        n = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        ctx.save_for_backward(x, n, weight)
        return x / n.clamp_min(1e-6) * weight

    @staticmethod
    @first_order
    def backward(ctx, g):
        x, n, weight = ctx.saved_tensors
        m = n.clamp_min(1e-6)
        u = x / m
        d = g * weight
        gx = torch.where(n > 1e-6, d - u * (d * u).sum(-1, keepdim=True), d) / m
        return gx if ctx.needs_input_grad[0] else None, (g * u).flatten(0, -2).sum(0) if ctx.needs_input_grad[
            1
        ] else None


forward = F.apply

layer = "l2"
strategy = Strategy(forward, dtypes=("float32",))
