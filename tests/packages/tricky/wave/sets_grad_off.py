"""Right, but when imported it switches gradients off."""

import torch

from harness import Strategy

torch.set_grad_enabled(False)

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
