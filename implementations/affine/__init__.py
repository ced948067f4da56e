"""Affine layer: y = x W + b, or with the option ``gelu=1`` y = gelu(x W + b).

    x [B, I], W [I, O], b [O], z = x W + b and y [B, O]; cotangent g = dL/dy [B, O]; B may be several dims
    gelu=0    y = z             δ = dL/dz = g
    gelu=1    y = z Φ(z)        δ = dL/dz = g (Φ(z) + z φ(z))
    dL/dx = δ Wᵀ [B, I]        dL/dW = xᵀ δ [I, O]        dL/db = Σ_batch δ [O]

with Φ(z) = (1 + erf(z/√2))/2 and φ(z) = exp(−z²/2)/√(2π), the distribution and the density of the unit normal: GELU in
its exact form (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415), the default of
``torch.nn.functional.gelu``. Its second derivative, for a backward that is itself differentiated, is φ(z) (2 − z²).
(The gradients are the product rule on each entry z_bo = Σ_i x_bi W_io + b_o, and the chain rule; the same as in the
documentation of ``torch.nn.functional.linear``, whose weight is our Wᵀ.)

Bound by matrix products: 2·B·I·O operations forward and twice as many backward. GELU adds 5 an element of y forward
(z/√2, its erf, + 1, · z, / 2) and 11 backward (4 for Φ, 5 for φ times z, their sum, · g), a function counting as one;
it must read nothing more than b, from which a backward can find z again. Kept for the backward beside x and W, which
are there anyway: nothing with gelu=0, and with gelu=1 the pre-activation z, B·O elements, where Φ is not kept too.

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


def _uniform_by_fan_in(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """U(−1/√I, 1/√I), as ``torch.nn.Linear``."""
    bound = 1 / math.sqrt(shape[0])
    return (torch.rand(shape, generator=generator, device=generator.device) * 2 - 1) * bound


def _dims(B: int, I: int, O: int, gelu: int = 0) -> Dims:  # noqa: E741
    return {"B": B, "I": I, "O": O, "gelu": gelu}


def _cost(passed: str, dims: Dims) -> Cost:
    B, I, O, gelu = dims["B"], dims["I"], dims["O"], dims["gelu"]  # noqa: E741
    if passed == "forward":
        return Cost(flops=2 * B * I * O + B * O + 5 * gelu * B * O, elements=B * I + I * O + O + B * O)
    return Cost(flops=4 * B * I * O + B * O + 11 * gelu * B * O, elements=2 * (B * I + I * O) + B * O + O + gelu * O)


def _examples() -> list[Example]:
    table = np.loadtxt(Path(__file__).parent / "sea_surface_temperature.csv", delimiter=",", skiprows=1)
    anomaly = (table[:, 1:] - table[:, 1:].mean(axis=0)).ravel()
    windows = torch.from_numpy(anomaly / anomaly.std()).unfold(0, HISTORY + AHEAD, 1)
    return [Example({"x": windows[:, :HISTORY].contiguous()}, windows[:, HISTORY:].contiguous())]


def _mean_squared_error(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().mean()


layer = Layer(
    title="affine map, or with GELU after it",
    formula="y = x W + b, or gelu(x W + b)",
    inputs={"x": Operand(("B", "I"))},
    parameters={"weight": Operand(("I", "O"), _uniform_by_fan_in), "bias": Operand(("O",))},
    output=("B", "O"),
    check=(_dims(7, 13, 5, gelu=1), _dims(1, 1, 1, gelu=1), _dims(65, 33, 127)),
    sizes={
        "cpu": {
            "quick": (_dims(256, 256, 256),),
            "default": (_dims(256, 256, 256), _dims(64, 64, 64), _dims(512, 512, 512), _dims(256, 256, 256, gelu=1)),
            "full": (
                _dims(256, 256, 256),
                _dims(16, 16, 16),
                _dims(64, 64, 64),
                _dims(512, 512, 512),
                _dims(1024, 1024, 1024),
                _dims(16, 1024, 1024),
                _dims(64, 64, 64, gelu=1),
                _dims(256, 256, 256, gelu=1),
                _dims(1024, 1024, 1024, gelu=1),
            ),
        },
        "cuda": {
            "quick": (_dims(4096, 4096, 4096),),
            "default": (
                _dims(4096, 4096, 4096),
                _dims(512, 512, 512),
                _dims(8192, 8192, 8192),
                _dims(4096, 4096, 4096, gelu=1),
            ),
            "full": (
                _dims(4096, 4096, 4096),
                _dims(128, 128, 128),
                _dims(512, 512, 512),
                _dims(1024, 1024, 1024),
                _dims(2048, 2048, 2048),
                _dims(8192, 8192, 8192),
                _dims(16384, 1024, 4096),
                _dims(512, 512, 512, gelu=1),
                _dims(4096, 4096, 4096, gelu=1),
                _dims(8192, 8192, 8192, gelu=1),
                _dims(16384, 1024, 4096, gelu=1),
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="forecast the next 3 months' sea surface temperature anomaly (in σ) from the last 12",
        source="NOAA ERSST.V3B, Niño 1+2, 1950–2010, public domain (from statsmodels)",
        dims=_dims(718, HISTORY, AHEAD),
        examples=_examples,
        loss=_mean_squared_error,
        learning_rate=0.3,
        steps=40,
        naive="persistence: the last month's value stays",
        naive_loss=0.3982,
        target_loss=0.36,
    ),
    leading="B",
    options={"gelu": (0, 1)},
)
