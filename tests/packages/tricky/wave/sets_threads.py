"""Right, but when imported it takes more threads."""

import torch

from harness import Strategy

torch.set_num_threads(2)

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
