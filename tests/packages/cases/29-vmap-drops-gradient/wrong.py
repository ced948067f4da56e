"""A Function with its own rule for vmap (wrong)."""

import torch

from harness import Strategy


class F(torch.autograd.Function):
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
        gw = d * x
        while gw.dim() > weight.dim():
            gw = gw.sum(0)
        return d * weight if ctx.needs_input_grad[0] else None, gw if ctx.needs_input_grad[1] else None

    @staticmethod
    def vmap(info, dims, x, weight):
        x = x.movedim(dims[0], 0) if dims[0] is not None else x.expand(info.batch_size, *x.shape)
        weight = weight.movedim(dims[1], 0) if dims[1] is not None else weight.expand(info.batch_size, *weight.shape)
        while weight.dim() < x.dim():
            weight = weight.unsqueeze(1)
        return F.forward(x.detach(), weight.detach()), 0


layer = "sq"
strategy = Strategy(F.apply)
