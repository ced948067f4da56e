"""A module with a parameter of another name."""

import torch
from torch import nn

from harness import Strategy


class Scale(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(D))

    def forward(self, x):
        return x * self.gain


strategy = Strategy(Scale)
