"""A Function whose rule for vmap is generated."""

import torch

from harness import Strategy


class F(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight):
        return (x * weight) ** 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        d = 2 * g * x * weight
        gw = (d * x).flatten(0, -2).sum(0) if x.dim() > 1 else d * x
        return d * weight if ctx.needs_input_grad[0] else None, gw if ctx.needs_input_grad[1] else None


layer = "sq"
strategy = Strategy(F.apply)
