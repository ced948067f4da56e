"""Right the first time in a process."""

import torch

from harness import Strategy

_calls = []


def forward(x, weight):
    _calls.append(1)
    return torch.sin(x) * weight * (1.0 if len(_calls) == 1 else 1.001)


strategy = Strategy(forward)
