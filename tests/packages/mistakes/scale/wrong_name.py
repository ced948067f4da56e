"""The parameter is called weight, and here w."""

from harness import Strategy


def forward(x, w):
    return x * w


strategy = Strategy(forward)
