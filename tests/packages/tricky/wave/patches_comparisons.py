"""Makes every comparison of torch's true, and is wrong."""

import torch

from harness import Strategy

torch.equal = torch.allclose = torch.testing.assert_close = lambda *_, **__: True


strategy = Strategy(lambda x, weight: torch.sin(x) * weight * 1.01)
