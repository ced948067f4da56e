"""Asks for more memory than there is."""

import torch

from harness import Strategy

strategy = Strategy(lambda x, weight: x * weight + torch.empty(10**15)[0])
