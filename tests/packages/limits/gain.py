"""Each feature times its gain, y = x · w: ways that are right, limited or wasteful, and one whose bias nobody sums."""

import torch
from torch.autograd.function import once_differentiable

from harness import Layer, Operand, Strategy

SIZES = {"cpu": {profile: ({"N": 64, "D": 64},) for profile in ("quick", "default", "full")}}

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"w": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
    sizes=SIZES,
    leading="N",
)


class _Gain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        of_x = g * w if ctx.needs_input_grad[0] else None
        return of_x, (g * x).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None


class Once(_Gain):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return _Gain.backward(ctx, g)


class Wasteful(_Gain):
    @staticmethod
    def forward(ctx, x, w):
        ctx.kept = x + 1
        return _Gain.forward(ctx, x, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, (g * x).flatten(0, -2).sum(0)


class Misshapen(_Gain):
    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, g * x


def autograd(x, w):
    return x * w


def once(x, w):
    return Once.apply(x, w)


def wasteful(x, w):
    return Wasteful.apply(x, w)


def misshapen(x, w):
    return Misshapen.apply(x, w)


def refuses_to_accumulate(x, w):
    if w.grad is not None:
        raise RuntimeError("clear the gradients first")
    return x * w


strategies = {
    "autograd": Strategy(autograd),
    "once": Strategy(once),
    "declares": Strategy(once, limits=("double_backward",)),
    "wasteful": Strategy(wasteful),
    "misshapen": Strategy(misshapen),
    "refuses_to_accumulate": Strategy(refuses_to_accumulate),
}
