"""Fake quantisation as a Function (right)."""

import torch

from harness import Strategy


class Fake(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        r = torch.round(w / 0.25)
        q = r.clamp(-8, 7)
        ctx.save_for_backward((r >= -8) & (r <= 7))
        return q * 0.25

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.saved_tensors[0], g, 0)


def forward(x, weight):
    return x @ Fake.apply(weight)


layer = "fakequant"
strategy = Strategy(forward)
