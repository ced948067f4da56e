"""Raises in its forward."""

from harness import Strategy


def forward(x, weight):
    raise ValueError("this strategy always raises")


strategy = Strategy(forward)
