"""Right, but when imported it computes in float64 by default from now on."""

import torch

from harness import Strategy

torch.set_default_dtype(torch.float64)

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
