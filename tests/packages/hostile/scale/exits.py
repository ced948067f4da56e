"""Leaves by SystemExit."""

from harness import Strategy


def forward(x, weight):
    raise SystemExit(0)


strategy = Strategy(forward)
