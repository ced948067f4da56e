"""Right in the gate; kills its process when it is timed (grad mode off never comes, so it counts its calls)."""

import os

import torch

from harness import Strategy


def forward(x, weight):
    if x.shape == (64, 32) and torch.get_num_threads() == 1 and len(os.sched_getaffinity(0)) == 1:
        os.abort()
    return x * weight


strategy = Strategy(forward)
