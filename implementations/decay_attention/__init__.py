"""Causal attention over irregular time stamps, with a learned decay in real time.

    q, k, v [B, H, T, D], t [B, T] increasing, amplitude a [H] > 0, rate r [H] > 0, y [B, H, T, D]
    Δ_ij = max(t_i − t_j, 0)    L_ij = log(1 + r Δ_ij)    s_ij = q_i · k_j / √D − a L_ij  for j ≤ i
    p_i = softmax over j ≤ i of s_i        y_i = Σ_j p_ij v_j

and backward, with the cotangent g = dL/dy:

    dL/dv_j = Σ_i p_ij g_i          dp_ij = g_i · v_j          ds_ij = p_ij (dp_ij − Σ_k p_ik dp_ik)
    dL/dq_i = Σ_j ds_ij k_j / √D    dL/dk_j = Σ_i ds_ij q_i / √D
    dL/da = −Σ ds_ij L_ij           dL/dr = −Σ ds_ij a Δ_ij / (1 + r Δ_ij)        (sums over batch, i and j)

The decay is the logarithmic kernel of KERPLE (Chi et al. 2022) on time stamps instead of positions; one that is linear
in time would cancel to a bias for each key. Time stamps stay float32 where the rest is narrower (in bfloat16 most gaps
are lost), and no gradient of them is asked for. Where they do not increase, the gap counts as 0.

The task: the weekly carbon dioxide at Mauna Loa, 1958–2001, with its 59 gaps. What is forecast is the rise over the
same week of the year before (so that neither season nor trend is left), in σ from the mean: from the blocks of four
observations so far, the next block. A block is a step; its time stamp is that of its last observation, in quarters of
a year; v is the block; q and k are the season (cosines and sines of the year and the half-year), more sharply in the
second head than in the first; the forecast is the mean of the heads. Blocks come in 8 windows of 65; the last (1995 to
2001) is held out, and mean and σ are the other seven's. The naive forecast is persistence: the last week's value
stays, with a loss of 0.851 (1.131 held out). Trained, the loss is 0.658 (0.904 held out). Amplitude and rate start
between 0.5 and 1.5 and grow, so that at this learning rate they stay positive.

Data: ``carbon_dioxide.csv``, C.D. Keeling and T.P. Whorf, Scripps Institution of Oceanography (continuous air samples
at NOAA's Mauna Loa observatory), public domain; taken from the statsmodels package (``statsmodels.datasets.co2``).
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from harness import Cost, Dims, Example, Layer, Operand, Task

WINDOWS, STEPS, BLOCK = 8, 65, 4
SHARPNESS = (0.5, 1.0)
YEAR, QUARTER = 52, 13  # weeks


def _times(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Increasing, with gaps between 0.1 and 2."""
    gaps = torch.rand(shape, generator=generator, device=generator.device) * 1.9 + 0.1
    return gaps.cumsum(-1)


def _positive(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """U(0.5, 1.5)."""
    return 0.5 + torch.rand(shape, generator=generator, device=generator.device)


def _cost(passed: str, dims: Dims) -> Cost:
    """Over the visible half; a backward that recomputes the probabilities does 2 D more for each pair."""
    B, H, T, D = dims["B"], dims["H"], dims["T"], dims["D"]
    pairs = B * H * T * (T + 1) // 2
    if passed == "forward":
        return Cost(flops=pairs * (4 * D + 9), elements=4 * B * H * T * D + B * T + 2 * H)
    return Cost(flops=pairs * (8 * D + 9), elements=7 * B * H * T * D + B * T + 4 * H)


def _windows() -> tuple[dict[str, Tensor], Tensor]:
    """Inputs and targets [WINDOWS, ..., STEPS, BLOCK]."""
    table = np.genfromtxt(Path(__file__).parent / "carbon_dioxide.csv", delimiter=",", skip_header=1)
    days = [datetime.strptime(f"{day:.0f}", "%Y%m%d").toordinal() for day in table[:, 0]]
    measured = {(day - days[0]) // 7: ppm for day, ppm in zip(days, table[:, 1], strict=True) if not math.isnan(ppm)}
    rise = {week: ppm - measured[week - YEAR] for week, ppm in measured.items() if week - YEAR in measured}

    def windows(values: Tensor) -> Tensor:
        return values[: WINDOWS * STEPS].view(WINDOWS, STEPS, *values.shape[1:])

    used = (WINDOWS * STEPS + 1) * BLOCK
    blocks = torch.tensor(list(rise.values())[:used], dtype=torch.float64).view(-1, BLOCK)
    ends = torch.tensor(list(rise)[:used], dtype=torch.float64).view(-1, BLOCK)[:, -1]
    known = blocks[: (WINDOWS - 1) * STEPS]
    blocks = (blocks - known.mean()) / known.std()

    turns = 2 * math.pi / (365.25 / 7) * ends[:, None] * torch.tensor([1.0, 2.0])
    season = windows(torch.cat([turns.cos(), turns.sin()], 1))[:, None]  # [WINDOWS, 1, STEPS, BLOCK]
    heads = (WINDOWS, len(SHARPNESS), STEPS, BLOCK)
    t = windows(ends / QUARTER)
    inputs = {
        "q": season * torch.tensor(SHARPNESS, dtype=torch.float64)[:, None, None],
        "k": season.expand(heads).contiguous(),
        "v": windows(blocks)[:, None].expand(heads).contiguous(),
        "t": t - t[:, :1],
    }
    return inputs, windows(blocks[1:])


def _examples() -> list[Example]:
    inputs, target = _windows()
    return [Example({n: x[:-1].contiguous() for n, x in inputs.items()}, target[:-1].contiguous())]


def held_out() -> Example:
    """The last window, which the task leaves out."""
    inputs, target = _windows()
    return Example({n: x[-1:].contiguous() for n, x in inputs.items()}, target[-1:].contiguous())


def _mean_squared_error(y: Tensor, target: Tensor) -> Tensor:
    """Of the heads' mean; ``target`` [B, T, D], or of y's shape, of which it is the first head."""
    return (y.mean(1) - (target if target.dim() < y.dim() else target[:, 0])).square().mean()


layer = Layer(
    title="attention with a decay in real time",
    formula="y_i = Σ_{j ≤ i} softmax_j(q_i · k_j / √D − a log(1 + r (t_i − t_j))) v_j",
    inputs={
        "q": Operand(("B", "H", "T", "D")),
        "k": Operand(("B", "H", "T", "D")),
        "v": Operand(("B", "H", "T", "D")),
        "t": Operand(("B", "T"), _times, least="float32", differentiable=False),
    },
    parameters={"amplitude": Operand(("H",), _positive), "rate": Operand(("H",), _positive)},
    output=("B", "H", "T", "D"),
    check=(
        {"B": 2, "H": 2, "T": 7, "D": 5},
        {"B": 1, "H": 1, "T": 1, "D": 1},
        {"B": 1, "H": 2, "T": 129, "D": 33},
    ),
    sizes={
        "cpu": {
            "quick": ({"B": 4, "H": 4, "T": 128, "D": 64},),
            "default": (
                {"B": 4, "H": 4, "T": 128, "D": 64},
                {"B": 2, "H": 4, "T": 512, "D": 64},
                {"B": 1, "H": 4, "T": 1024, "D": 64},
            ),
            "full": (
                {"B": 4, "H": 4, "T": 128, "D": 64},
                {"B": 4, "H": 4, "T": 256, "D": 64},
                {"B": 2, "H": 4, "T": 512, "D": 64},
                {"B": 1, "H": 4, "T": 1024, "D": 64},
                {"B": 1, "H": 4, "T": 1024, "D": 128},
                {"B": 1, "H": 4, "T": 2048, "D": 64},
            ),
        },
        "cuda": {
            "quick": ({"B": 2, "H": 8, "T": 4096, "D": 64},),
            "default": (
                {"B": 2, "H": 8, "T": 4096, "D": 64},
                {"B": 8, "H": 8, "T": 1024, "D": 64},
                {"B": 2, "H": 8, "T": 4096, "D": 128},
            ),
            "full": (
                {"B": 2, "H": 8, "T": 4096, "D": 64},
                {"B": 16, "H": 8, "T": 128, "D": 64},
                {"B": 16, "H": 8, "T": 512, "D": 64},
                {"B": 8, "H": 8, "T": 1024, "D": 64},
                {"B": 2, "H": 8, "T": 4096, "D": 128},
                {"B": 1, "H": 4, "T": 8192, "D": 64},
                {"B": 1, "H": 1, "T": 16384, "D": 64},
            ),
        },
    },
    cost=_cost,
    task=Task(
        title="forecast the next 4 weekly observations of the yearly rise in carbon dioxide (in σ) from those before",
        source="Mauna Loa, Scripps and NOAA, 1958–2001, public domain (from statsmodels)",
        dims={"B": WINDOWS - 1, "H": len(SHARPNESS), "T": STEPS, "D": BLOCK},
        examples=_examples,
        loss=_mean_squared_error,
        learning_rate=2.0,
        steps=30,
        naive="persistence: the last week's value stays",
        naive_loss=0.8506,
        target_loss=0.68,
    ),
    leading="B",
    causal="T",
)
