"""nan_at_zero"""

import torch

from harness import Strategy


def forward(x, weight):
    inverse = torch.rsqrt((x * x).sum(-1, keepdim=True))
    return x * torch.clamp_max(inverse, 1e6) * weight


layer = "l2"
strategy = Strategy(forward, dtypes=("float32",))
