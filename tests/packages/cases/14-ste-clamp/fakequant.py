"""Fake quantisation to 4 bits with a straight-through gradient: y = w * (q - z).detach-trick."""

import torch
from torch import nn

from harness import Layer, Strategy


def fake(x, step):
    r = x / step
    r = r + (torch.round(r) - r).detach()
    inside = (r >= -8) & (r <= 7)
    return torch.where(inside, r, torch.clamp(r, -8, 7).detach()) * step


class FakeQuantLinear(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(i, o))

    def forward(self, x):
        return x @ fake(self.weight, 0.25)


layer = Layer.of_module(
    FakeQuantLinear,
    inputs={"x": ("N", "I")},
    output=("N", "O"),
    check=({"N": 7, "I": 5, "O": 3}, {"N": 1, "I": 1, "O": 1}, {"N": 33, "I": 17, "O": 9}),
    leading="N",
)
strategies = {"autograd": Strategy(FakeQuantLinear)}
