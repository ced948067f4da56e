"""Weighted sum to a scalar: y = Σ_nd x_nd · w_d.

    x [N, D], w [D], y []; cotangent g = dL/dy []
    dL/dx_nd = g · w_d (a broadcast)        dL/dw_d = g · Σ_n x_nd (a column sum)

(The product rule on each term.) With the column sums s = Σ_n x_n the same is y = s · w and dL/dw = g · s: x need be
read only once, forward, and dL/dx written once, backward. Bound by memory.

The task is to learn from totals: visits to the doctor in groups of 128 people, from what is known of each person
(insurance plan, chronic diseases, self-rated health). Only the group's total is ever seen, so the scalar sum is what
is trained through; one step sums the loss over all 16 groups. The naive forecast is the mean over all groups.

Data: ``doctor_visits.csv``, every ninth row (the first 2,048 of them) of the RAND Health Insurance Experiment, public
domain; taken from the statsmodels package (``statsmodels.datasets.randhie``). The features are centred and scaled to
unit variance, and a column of ones is put before them.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from harness import Cost, Dims, Example, Layer, Operand, Task, normal

GROUPS, PEOPLE = 16, 128


def _small_normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1/D)."""
    return normal(shape, generator) / math.sqrt(shape[0])


def _cost(passed: str, dims: Dims) -> Cost:
    N, D = dims["N"], dims["D"]
    if passed == "forward":
        return Cost(flops=N * D + 2 * D, elements=N * D + 2 * D + 1)
    return Cost(flops=2 * D, elements=N * D + 3 * D + 1)


def _examples() -> list[Example]:
    table = np.loadtxt(Path(__file__).parent / "doctor_visits.csv", delimiter=",", skiprows=1)
    visits, features = torch.from_numpy(table[:, 0]), torch.from_numpy(table[:, 1:])
    scaled = (features - features.mean(0)) / features.std(0)
    ones = torch.ones(len(scaled), 1, dtype=scaled.dtype)
    x = torch.cat([ones, scaled], dim=1).view(GROUPS, PEOPLE, -1)
    return [Example({"x": rows}, total) for rows, total in zip(x, visits.view(GROUPS, PEOPLE).sum(1), strict=True)]


def _squared_error_per_person(y: Tensor, target: Tensor) -> Tensor:
    return ((y - target) / PEOPLE).square() / GROUPS


layer = Layer(
    title="weighted sum to a scalar",
    formula="y = Σ x·w",
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",), _small_normal)},
    output=(),
    check=({"N": 7, "D": 13}, {"N": 1, "D": 1}, {"N": 129, "D": 65}),
    sizes={
        "cpu": {
            "quick": ({"N": 1024, "D": 1024},),
            "default": ({"N": 1024, "D": 1024}, {"N": 128, "D": 128}, {"N": 2048, "D": 2048}),
            "full": (
                {"N": 1024, "D": 1024},
                {"N": 16, "D": 16},
                {"N": 128, "D": 128},
                {"N": 512, "D": 512},
                {"N": 2048, "D": 2048},
                {"N": 65536, "D": 64},
            ),
        },
        "cuda": {
            "quick": ({"N": 16384, "D": 4096},),
            "default": ({"N": 16384, "D": 4096}, {"N": 1024, "D": 1024}, {"N": 65536, "D": 8192}),
            "full": (
                {"N": 16384, "D": 4096},
                {"N": 128, "D": 128},
                {"N": 1024, "D": 1024},
                {"N": 4096, "D": 4096},
                {"N": 65536, "D": 8192},
                {"N": 1048576, "D": 64},
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="learn visits to the doctor from the totals of 16 groups of 128 people",
        source="RAND Health Insurance Experiment, public domain (from statsmodels)",
        dims={"N": PEOPLE, "D": 10},
        examples=_examples,
        loss=_squared_error_per_person,
        learning_rate=0.3,
        steps=30,
        naive="every group has the mean number of visits",
        naive_loss=0.5008,
        target_loss=0.3,
    ),
    leading="N",
)
