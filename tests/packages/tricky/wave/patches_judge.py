"""Takes the error rule and the judge apart in its own process, and is wrong."""

import torch

import harness.verify.judging
from harness import Strategy
from harness.verify.oracle import Pool

Pool.ratio = Pool.norm_ratio = lambda self: 0.0
harness.verify.judging.compare = lambda *_, **__: []

strategy = Strategy(lambda x, weight: torch.cos(x) * weight)
