"""Root mean square normalisation: y = x / √(mean(x²) + ε) · w.

    x [N, D], w [D], y [N, D]; cotangent g = dL/dy [N, D]; N may be several dims; r_n = 1 / √(Σ_d x_nd² / D + ε) [N]
    y_nd = x_nd · r_n · w_d
    dL/dx_nd = r_n · (w_d · g_nd − x_nd · r_n² · Σ_e g_ne w_e x_ne / D)        dL/dw_d = Σ_n g_nd · x_nd · r_n

(Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", eq. 4, with ε = 1e-6 added under the root so that a row
of zeros stays one; the gradients by the product rule, with ∂r_n/∂x_nd = −r_n³ x_nd / D, as in the paper's section on
gradients.) In dtypes narrower than float32 all of it is float32 and only y, dL/dx and dL/dw are rounded. Bound by
memory.

x is drawn away from zero, ±(1 + |normal|): in a row of one element the two terms of dL/dx all but cancel, and what is
left of them is rounding unless |x| is not small; and the rows' mean square is 3.6, so that leaving it out shows.

The task: how much of this month's sea surface temperature anomaly in the eastern equatorial Pacific (the El Niño
region 1+2) is left three months later? That depends on the calendar month: hardly any survives the northern spring,
most of the summer's does. A row is a year of 12 monthly anomalies, normalised by its root mean square, so that an El
Niño year does not outweigh the quiet ones; the target is each month's anomaly three months later in the same unit, and
the weight learns what is left, month by month. The naive forecast is persistence: all of it. One number for all months
reaches 0.830 at best, so the target of 0.815 takes twelve.

Data: ``sea_surface_temperature.csv``, NOAA National Weather Service, ERSST.V3B, region Niño 1+2, public domain;
taken from the statsmodels package (``statsmodels.datasets.elnino``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from harness import Cost, Dims, Example, Layer, Operand, Task

EPS = 1e-6
MONTHS, AHEAD, YEARS = 12, 3, 60


def _away_from_zero(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """±(1 + |normal|)."""
    normal = torch.randn(shape, generator=generator, device=generator.device)
    return normal + normal.sign()


def _about_one(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """1 + normal/5: users start from ones."""
    return 1 + torch.randn(shape, generator=generator, device=generator.device) / 5


def _cost(passed: str, dims: Dims) -> Cost:
    N, D = dims["N"], dims["D"]
    if passed == "forward":
        return Cost(flops=4 * N * D + 4 * N, elements=2 * N * D + D)
    return Cost(flops=9 * N * D + 3 * N, elements=3 * N * D + 2 * D)


def _examples() -> list[Example]:
    table = np.loadtxt(Path(__file__).parent / "sea_surface_temperature.csv", delimiter=",", skiprows=1)
    anomaly = torch.from_numpy((table[:, 1:] - table[:, 1:].mean(axis=0)).ravel())
    months = YEARS * MONTHS
    x, later = (anomaly[k : k + months].view(YEARS, MONTHS) / anomaly.std() for k in (0, AHEAD))
    return [Example({"x": x}, later / x.square().mean(-1, keepdim=True).sqrt())]


def _mean_squared_error(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().mean()


layer = Layer(
    title="root mean square normalisation",
    formula="y = x / √(mean(x²) + ε) · w",
    inputs={"x": Operand(("N", "D"), _away_from_zero)},
    parameters={"weight": Operand(("D",), _about_one)},
    output=("N", "D"),
    check=({"N": 7, "D": 13}, {"N": 1, "D": 1}, {"N": 65, "D": 129}),
    sizes={
        "cpu": {
            "quick": ({"N": 1024, "D": 1024},),
            "default": ({"N": 1024, "D": 1024}, {"N": 128, "D": 128}, {"N": 4096, "D": 2048}),
            "full": (
                {"N": 1024, "D": 1024},
                {"N": 16, "D": 16},
                {"N": 128, "D": 128},
                {"N": 512, "D": 512},
                {"N": 4096, "D": 2048},
                {"N": 65536, "D": 64},
            ),
        },
        "cuda": {
            "quick": ({"N": 16384, "D": 4096},),
            "default": ({"N": 16384, "D": 4096}, {"N": 1024, "D": 1024}, {"N": 16384, "D": 8192}),
            "full": (
                {"N": 16384, "D": 4096},
                {"N": 128, "D": 128},
                {"N": 1024, "D": 1024},
                {"N": 4096, "D": 4096},
                {"N": 16384, "D": 8192},
                {"N": 4096, "D": 16384},
                {"N": 1048576, "D": 64},
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="what is left of each month's sea surface temperature anomaly 3 months later (in the year's RMS)",
        source="NOAA ERSST.V3B, Niño 1+2, 1950–2010, public domain (from statsmodels)",
        dims={"N": YEARS, "D": MONTHS},
        examples=_examples,
        loss=_mean_squared_error,
        learning_rate=4.0,
        steps=20,
        naive="persistence: each month's anomaly stays",
        naive_loss=1.0662,
        target_loss=0.815,
    ),
    leading="N",
)
