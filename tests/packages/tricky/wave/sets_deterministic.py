"""Right, but when imported it asks for deterministic algorithms."""

import torch

from harness import Strategy

torch.use_deterministic_algorithms(True)

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
