"""What the proofs of the meter time: forward and backward of a dense layer, of the controls."""

from __future__ import annotations

import torch

from harness.layers.drawing import draw
from harness.measure.passes import Ready, ready
from harness.verify.controls import dense_layer

DIMS = {"B": 256, "I": 256, "O": 256}


def workload() -> Ready:
    """Forward and backward of a dense layer, about a millisecond, in memory of its own."""
    values = draw(dense_layer.layer, DIMS, torch.float32, "cpu", 0)
    return ready(dense_layer.layer, dense_layer.reference, DIMS, values)
