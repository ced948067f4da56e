"""Gated feed-forward layer of today's language models: y = (silu(x W_gate) · (x W_up)) W_down.

    x [B, I], W_gate [I, H], W_up [I, H], W_down [H, O], y [B, O]; cotangent g = dL/dy [B, O]; B may be several dims
    a = x W_gate [B, H]      b = x W_up [B, H]      silu(a) = a σ(a)      h = silu(a) · b [B, H]      y = h W_down
    dL/dh = g W_downᵀ    dL/db = dL/dh · silu(a)    dL/da = dL/dh · b · (σ(a) + silu(a) (1 − σ(a)))    (each [B, H])
    dL/dx = dL/da W_gateᵀ + dL/db W_upᵀ    dL/dW_gate = xᵀ dL/da    dL/dW_up = xᵀ dL/db    dL/dW_down = hᵀ g

(Shazeer 2020, "GLU Variants Improve Transformer", eq. 5 and 6, Swish with β = 1 and no biases; the gradients by the
product rule, with silu' as in Elfwing et al. 2018, "Sigmoid-Weighted Linear Units", eq. 5.) Bound by matrix products:
4·B·I·H + 2·B·H·O operations forward and twice as many backward. What the ways differ in is what they keep of [B, H]
between the passes, and how often they read and write it.

The task: the sea surface temperature anomaly of the eastern equatorial Pacific (the El Niño region 1+2) in each of the
next six months, from this month's anomaly and the calendar: x is (anomaly, cosine and sine of the month, 1). How much
of an anomaly is left depends on the season, a product of two inputs, which a gate can form and a linear map cannot: of
the same inputs the best linear map reaches 0.503 on the years 1950 to 1999, from which is learnt. Anomalies are
differences from those years' mean of each month, in units of their standard deviation. The naive forecast is
persistence: this month's anomaly stays, with a loss of 0.631 (0.691 on the held-out years 2000 to 2010). Trained, the
loss is about 0.494 (0.466 held out, where the linear map has 0.491).

Data: ``sea_surface_temperature.csv``, NOAA National Weather Service, ERSST.V3B, region Niño 1+2, public domain;
taken from the statsmodels package (``statsmodels.datasets.elnino``).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from harness import Cost, Dims, Example, Layer, Operand, Task, normal

AHEAD, MONTHS, YEARS = 6, 12, 50


def _normal_by_fan_in(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """N(0, 1/fan-in), so that a and b have unit size, where silu bends most."""
    return normal(shape, generator) / math.sqrt(shape[0])


def _cost(passed: str, dims: Dims) -> Cost:
    B, I, H, O = dims["B"], dims["I"], dims["H"], dims["O"]  # noqa: E741
    products, weights = 4 * B * I * H + 2 * B * H * O, 2 * I * H + H * O
    if passed == "forward":
        return Cost(flops=products + 5 * B * H, elements=B * I + weights + B * O)
    return Cost(flops=2 * products + 6 * B * H, elements=2 * (B * I + weights) + B * O)


def _split() -> tuple[Example, Example]:
    """Months of the first YEARS years whose next AHEAD lie in them too, and the months after those years."""
    table = np.loadtxt(Path(__file__).parent / "sea_surface_temperature.csv", delimiter=",", skiprows=1)
    temperature, known = torch.from_numpy(table[:, 1:]), YEARS * MONTHS
    anomaly = (temperature - temperature[:YEARS].mean(0)).flatten()
    windows = (anomaly / anomaly[:known].std()).unfold(0, 1 + AHEAD, 1)
    turn = torch.arange(len(windows), dtype=windows.dtype) * (2 * math.pi / MONTHS)
    x = torch.stack([windows[:, 0], turn.cos(), turn.sin(), torch.ones_like(turn)], 1)
    first, last = (slice(0, known - AHEAD), slice(known, None))
    return Example({"x": x[first]}, windows[first, 1:]), Example({"x": x[last]}, windows[last, 1:])


def _examples() -> list[Example]:
    return [_split()[0]]


def held_out() -> Example:
    """The years that the task leaves out."""
    return _split()[1]


def _mean_squared_error(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().mean()


layer = Layer(
    title="gated feed-forward layer",
    formula="y = (silu(x W_gate) · (x W_up)) W_down",
    inputs={"x": Operand(("B", "I"))},
    parameters={
        "gate": Operand(("I", "H"), _normal_by_fan_in),
        "up": Operand(("I", "H"), _normal_by_fan_in),
        "down": Operand(("H", "O"), _normal_by_fan_in),
    },
    output=("B", "O"),
    check=(
        {"B": 7, "I": 13, "H": 5, "O": 11},
        {"B": 1, "I": 1, "H": 1, "O": 1},
        {"B": 65, "I": 33, "H": 127, "O": 67},
    ),
    sizes={
        "cpu": {
            "quick": ({"B": 256, "I": 128, "H": 352, "O": 128},),
            "default": (
                {"B": 256, "I": 128, "H": 352, "O": 128},
                {"B": 64, "I": 64, "H": 176, "O": 64},
                {"B": 512, "I": 256, "H": 704, "O": 256},
            ),
            "full": (
                {"B": 256, "I": 128, "H": 352, "O": 128},
                {"B": 16, "I": 16, "H": 48, "O": 16},
                {"B": 64, "I": 64, "H": 176, "O": 64},
                {"B": 512, "I": 256, "H": 704, "O": 256},
                {"B": 1024, "I": 512, "H": 1408, "O": 512},
                {"B": 16, "I": 512, "H": 1408, "O": 512},
            ),
        },
        "cuda": {
            "quick": ({"B": 4096, "I": 4096, "H": 11008, "O": 4096},),
            "default": (
                {"B": 4096, "I": 4096, "H": 11008, "O": 4096},
                {"B": 1024, "I": 1024, "H": 2816, "O": 1024},
                {"B": 8192, "I": 4096, "H": 14336, "O": 4096},
            ),
            "full": (
                {"B": 4096, "I": 4096, "H": 11008, "O": 4096},
                {"B": 128, "I": 128, "H": 352, "O": 128},
                {"B": 512, "I": 512, "H": 1408, "O": 512},
                {"B": 1024, "I": 1024, "H": 2816, "O": 1024},
                {"B": 2048, "I": 2048, "H": 5632, "O": 2048},
                {"B": 8192, "I": 4096, "H": 14336, "O": 4096},
                {"B": 16, "I": 4096, "H": 14336, "O": 4096},
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="forecast the next 6 months' sea surface temperature anomaly (in σ) from this month's and the calendar",
        source="NOAA ERSST.V3B, Niño 1+2, 1950–1999, public domain (from statsmodels)",
        dims={"B": YEARS * MONTHS - AHEAD, "I": 4, "H": 32, "O": AHEAD},
        examples=_examples,
        loss=_mean_squared_error,
        learning_rate=0.25,
        steps=60,
        naive="persistence: this month's anomaly stays",
        naive_loss=0.6313,
        target_loss=0.53,
    ),
    leading="B",
)
