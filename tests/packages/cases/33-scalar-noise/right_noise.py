"""A right sum whose order of adding changes from call to call, as atomics' does on a GPU."""

import itertools

from harness import Strategy

TURN = itertools.count()


def forward(x, weight):
    p = x * weight
    if next(TURN) % 2:
        return p.sum()
    return p.flip(0).sum(0).flip(0).sum()


layer = "wsum"
strategy = Strategy(forward, dtypes=("float32",))
