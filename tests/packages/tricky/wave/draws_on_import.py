"""Right, and draws a random number when it is imported, as modules with example values do."""

import torch

from harness import Strategy

EXAMPLE = torch.randn(3)

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
