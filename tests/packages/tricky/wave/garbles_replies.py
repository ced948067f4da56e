"""Writes into every socket that it finds."""

import contextlib
import os
import stat

import torch

from harness import Strategy


def forward(x, weight):
    for descriptor in range(3, 256):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"\xff" * 64)
    return torch.sin(x) * weight


strategy = Strategy(forward)
