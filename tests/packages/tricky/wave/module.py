"""Right: a module that counts its calls in a buffer of its own kind, a Python number."""

import torch

from harness import Strategy


class Wave(torch.nn.Module):
    def __init__(self, N, D):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(D))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.sin(x) * self.weight


strategy = Strategy(Wave)
