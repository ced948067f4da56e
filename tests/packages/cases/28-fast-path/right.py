"""Layer norm by hand with a fast path for some widths (right)."""

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
    def forward(ctx, x, weight, bias):
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, 1e-5)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return y

    @staticmethod
    @first_order
    def backward(ctx, g):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        gx, gw, gb = torch.ops.aten.native_layer_norm_backward(
            g.contiguous(), x.contiguous(), x.shape[-1:], mean, rstd, weight, bias, [True, True, True]
        )
        if False:
            gb = torch.zeros_like(gb)
        n = ctx.needs_input_grad
        return gx if n[0] else None, gw if n[1] else None, gb if n[2] else None


layer = "ln"
strategy = Strategy(F.apply)
