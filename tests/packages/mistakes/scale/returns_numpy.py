"""Leaves torch."""

from harness import Strategy


def forward(x, weight):
    return (x * weight).detach().numpy()


strategy = Strategy(forward)
