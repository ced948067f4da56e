"""Layer norm: y = (x - mean) / sqrt(var + eps) * w + b."""

import torch
from torch import nn

from harness import Layer, Strategy


class LN(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-5)


layer = Layer.of_module(
    LN,
    inputs={"x": ("N", "FEATURES")},
    output=("N", "FEATURES"),
    check=({"N": 7, "FEATURES": 5}, {"N": 1, "FEATURES": 1}, {"N": 33, "FEATURES": 17}),
    leading="N",
    sizes={"cpu": {"quick": ({"N": 256, "FEATURES": 1024},), "default": ({"N": 256, "FEATURES": 1024},)}},
)
strategies = {"autograd": Strategy(LN)}
