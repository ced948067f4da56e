"""Affine layer: y = x W + b.

    x [B, I], W [I, O], b [O], y [B, O]; cotangent g = dL/dy [B, O]; B may be several dims
    dL/dx = g Wᵀ [B, I]        dL/dW = xᵀ g [I, O]        dL/db = Σ_batch g [O]

(The product rule on each entry y_bo = Σ_i x_bi W_io + b_o; the same as in the documentation of
``torch.nn.functional.linear``, whose weight is our Wᵀ.) Bound by matrix products: 2·B·I·O operations forward and
twice as many backward.

The task: monthly sea surface temperatures of the eastern equatorial Pacific (the El Niño region 1+2), 1950–2010, as
anomalies from each month's mean in units of their standard deviation. From twelve months the next three are
forecast. The naive forecast is persistence: the last month's value stays.

Data: ``sea_surface_temperature.csv``, NOAA National Weather Service, ERSST.V3B, region Niño 1+2, public domain;
taken from the statsmodels package (``statsmodels.datasets.elnino``).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from harness import Cost, Dims, Example, Layer, Operand, Task

HISTORY, AHEAD = 12, 3


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform_by_fan_in(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """U(−1/√I, 1/√I), as ``torch.nn.Linear``."""
    bound = 1 / math.sqrt(shape[0])
    return (torch.rand(shape, generator=generator, device=generator.device) * 2 - 1) * bound


def _cost(passed: str, dims: Dims) -> Cost:
    B, I, O = dims["B"], dims["I"], dims["O"]  # noqa: E741
    if passed == "forward":
        return Cost(flops=2 * B * I * O + B * O, elements=B * I + I * O + O + B * O)
    return Cost(flops=4 * B * I * O + B * O, elements=2 * (B * I + I * O) + B * O + O)


def _examples() -> list[Example]:
    table = np.loadtxt(Path(__file__).parent / "sea_surface_temperature.csv", delimiter=",", skiprows=1)
    anomaly = (table[:, 1:] - table[:, 1:].mean(axis=0)).ravel()
    windows = torch.from_numpy(anomaly / anomaly.std()).unfold(0, HISTORY + AHEAD, 1)
    return [Example({"x": windows[:, :HISTORY].contiguous()}, windows[:, HISTORY:].contiguous())]


def _mean_squared_error(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().mean()


layer = Layer(
    title="affine map",
    formula="y = x W + b",
    inputs={"x": Operand(("B", "I"), _normal)},
    parameters={"weight": Operand(("I", "O"), _uniform_by_fan_in), "bias": Operand(("O",), _normal)},
    output=("B", "O"),
    check=({"B": 7, "I": 13, "O": 5}, {"B": 1, "I": 1, "O": 1}, {"B": 65, "I": 33, "O": 127}),
    sizes={
        "cpu": {
            "quick": ({"B": 256, "I": 256, "O": 256},),
            "default": (
                {"B": 256, "I": 256, "O": 256},
                {"B": 64, "I": 64, "O": 64},
                {"B": 512, "I": 512, "O": 512},
            ),
            "full": (
                {"B": 256, "I": 256, "O": 256},
                {"B": 16, "I": 16, "O": 16},
                {"B": 64, "I": 64, "O": 64},
                {"B": 512, "I": 512, "O": 512},
                {"B": 1024, "I": 1024, "O": 1024},
                {"B": 16, "I": 1024, "O": 1024},
            ),
        },
        "cuda": {
            "quick": ({"B": 4096, "I": 4096, "O": 4096},),
            "default": (
                {"B": 4096, "I": 4096, "O": 4096},
                {"B": 512, "I": 512, "O": 512},
                {"B": 8192, "I": 8192, "O": 8192},
            ),
            "full": (
                {"B": 4096, "I": 4096, "O": 4096},
                {"B": 128, "I": 128, "O": 128},
                {"B": 512, "I": 512, "O": 512},
                {"B": 1024, "I": 1024, "O": 1024},
                {"B": 2048, "I": 2048, "O": 2048},
                {"B": 8192, "I": 8192, "O": 8192},
                {"B": 16384, "I": 1024, "O": 4096},
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="forecast the next 3 months' sea surface temperature anomaly (in σ) from the last 12",
        source="NOAA ERSST.V3B, Niño 1+2, 1950–2010, public domain (from statsmodels)",
        dims={"B": 718, "I": HISTORY, "O": AHEAD},
        examples=_examples,
        loss=_mean_squared_error,
        learning_rate=0.3,
        steps=40,
        naive="persistence: the last month's value stays",
        naive_loss=0.3982,
        target_loss=0.36,
    ),
    leading="B",
)
