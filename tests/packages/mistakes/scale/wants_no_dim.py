"""A module whose constructor wants what is no dim."""

import torch
from torch import nn

from harness import Strategy


class Scale(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return x * self.weight


strategy = Strategy(Scale)
