"""Right, and writes over what it was given."""

import torch

from harness import Strategy


def forward(x, weight):
    y = torch.sin(x.clone()) * weight
    x.data.zero_()
    return y


strategy = Strategy(forward)
