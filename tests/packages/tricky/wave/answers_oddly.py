"""Makes the probes answer with tensors that cannot be compared."""

import torch

import harness.verify.asking
from harness import Strategy

_answer = harness.verify.asking.answer


def _sparse(*args):
    return {name: t.to_sparse() for name, t in _answer(*args).items()}


harness.verify.asking.answer = _sparse

strategy = Strategy(lambda x, weight: torch.sin(x) * weight)
