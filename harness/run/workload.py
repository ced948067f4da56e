"""What the proofs of the meter time, for how long, and how the errors of comparisons are summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import quantiles

import torch

from harness.analyse.statistics import SMALLEST_MARGIN
from harness.layers.drawing import draw
from harness.layers.spec import Dims
from harness.measure.draws import Draws
from harness.measure.passes import Ready, ready
from harness.verify.controls import dense_layer

DIMS: Dims = {"B": 256, "I": 256, "O": 256}
COMPARISON_SECONDS = 4.0
MARGIN = math.expm1(SMALLEST_MARGIN["cpu"])
"""Of a comparison of identical code, a ratio − 1."""


def pool(dims: Dims = DIMS) -> Draws:
    """Contents that the calls of the workload read where they are timed as in a benchmark."""
    return Draws(dense_layer.layer, dims, draw(dense_layer.layer, dims, torch.float32, "cpu", 0), 0)


def workload(dims: Dims = DIMS, draws: Draws | None = None) -> Ready:
    """Forward and backward of a dense layer, about a millisecond, in memory of its own.

    Args:
        draws: what the calls read; without, the same at each.
    """
    values = draw(dense_layer.layer, dims, torch.float32, "cpu", 0)
    return ready(dense_layer.layer, dense_layer.reference, dims, values, draws)


def ninth_decile(errors: Sequence[float]) -> float:
    """Within what was seen: the default method extrapolates beyond the largest of few."""
    return quantiles(errors, n=10, method="inclusive")[-1]
