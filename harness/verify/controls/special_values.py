"""Controls about NaN and rows of zeros (fault 50)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import by_hand, forward, plain, slopes


def _hidden(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(torch.nan_to_num(x), weight, bias)


def _into_other_rows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(x, weight, bias) + 0 * x.detach().sum()


def _by_the_size_of_a_row(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = slopes(g, x, weight, y)
    size = x.norm(dim=-1, keepdim=True)
    return dx * size / size, dw, db


CONTROLS = {
    "nan_hidden": Control(50, "NaN is replaced", "special_values", plain(_hidden)),
    "nan_spread": Control(50, "NaN times 0 in every row", "special_values", plain(_into_other_rows)),
    "nan_at_zero": Control(50, "NaN at a row of zeros", "special_values", by_hand(_by_the_size_of_a_row)),
}  # fmt: skip
