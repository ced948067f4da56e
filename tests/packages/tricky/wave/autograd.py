"""Right: the reference."""

import torch

from harness import Strategy

strategy = Strategy(lambda x, weight: torch.sin(x) * weight, simplicity=0)
