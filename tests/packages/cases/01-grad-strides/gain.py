"""Each feature times its gain: y = x * w."""

import torch
from torch import nn

from harness import Layer, Strategy


class Gain(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.w = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return x * self.w


layer = Layer.of_module(
    Gain,
    inputs={"x": ("N", "FEATURES")},
    output=("N", "FEATURES"),
    check=({"N": 7, "FEATURES": 5}, {"N": 1, "FEATURES": 1}, {"N": 33, "FEATURES": 17}),
    leading="N",
)
strategies = {"autograd": Strategy(Gain)}
