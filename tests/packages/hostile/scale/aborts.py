"""Kills its process."""

import os

from harness import Strategy


def forward(x, weight):
    os.abort()


strategy = Strategy(forward)
