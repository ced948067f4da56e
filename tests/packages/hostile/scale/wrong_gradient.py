"""Drops a term: the gradient of the weight is a mean where a sum belongs."""

import torch

from harness import Strategy


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * weight, (g * x).mean(0)


strategy = Strategy(lambda x, weight: Scale.apply(x, weight))
