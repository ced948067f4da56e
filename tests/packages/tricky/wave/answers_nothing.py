"""Makes the plain probe answer with nothing at all, so that nothing can be found wrong in it; honest when pressed."""

import torch

import harness.verify.asking
from harness import Strategy

_answer = harness.verify.asking.answer
_pressed = [False]


def _nothing_if_possible(layer, strategy, probe, dims, values, options):
    _pressed[0] = bool(options) or probe.__name__ != "gradients"
    found = _answer(layer, strategy, probe, dims, values, options)
    return found if _pressed[0] else {}


harness.verify.asking.answer = _nothing_if_possible


def forward(x, weight):
    return torch.sin(x) * weight if _pressed[0] else torch.cos(x) * weight


strategy = Strategy(forward)
