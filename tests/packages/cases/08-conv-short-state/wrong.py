"""Backward by hand, as gathers (wrong)."""

import torch

from harness import Strategy


class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, state, weight):
        T = x.shape[-2]
        e = torch.cat((state, x), -2)
        ctx.save_for_backward(x, state, weight)
        return sum(weight[j] * e[..., j : j + T, :] for j in range(weight.shape[0]))

    @staticmethod
    def backward(ctx, g):
        x, state, weight = ctx.saved_tensors
        T, W = x.shape[-2], weight.shape[0]
        gx = gs = gw = None
        if ctx.needs_input_grad[0]:
            pad = torch.cat((g, g.new_zeros(*g.shape[:-2], W - 1, g.shape[-1])), -2)
            gx = sum(weight[j] * pad[..., W - 1 - j : W - 1 - j + T, :] for j in range(W))
        if ctx.needs_input_grad[1]:
            gs = torch.zeros_like(state)
            for s in range(W - 1):
                for j in range(s + 1):
                    t = s - j
                    gs[..., s, :] += weight[j] * g[..., min(t, T - 1), :]
        if ctx.needs_input_grad[2]:
            e = torch.cat((state, x), -2)
            gw = torch.stack([(g * e[..., j : j + T, :]).flatten(0, -2).sum(0) for j in range(W)])
        return gx, gs, gw


layer = "cconv"
strategy = Strategy(F.apply)
