"""Hangs."""

import time

from harness import Strategy


def forward(x, weight):
    time.sleep(10_000)


strategy = Strategy(forward)
