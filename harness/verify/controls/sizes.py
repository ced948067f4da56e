"""Controls about sizes at which a formula of its own is taken (faults 51 and 54)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.layers.spec import Strategy
from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import changed, forward, plain

BLOCK = 1024
STATED = 40


def _without_bias(chosen: Any) -> Strategy:
    """The gradient of the bias is lost at sizes for which ``chosen(rows, terms, columns)``; it is not at others."""

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        lost = chosen(x.shape[:-1].numel(), *weight.shape)
        return forward(x, weight, bias.detach() + 0 * bias if lost else bias)

    return plain(run)


def _last_block(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    if z.dtype != torch.float32 or len(z) <= BLOCK:
        return dx, dw, db
    return dx, dw, z[len(z) // BLOCK * BLOCK :].sum(0)


CONTROLS = {
    "stated": Control(51, "wrong at a stated size", "values", _without_bias(lambda b, i, o: i == STATED)),
    "aligned": Control(51, "wrong where vectors fit", "shapes", _without_bias(lambda b, i, o: i % 8 > o % 8 == 0)),
    "few_steps": Control(51, "wrong below a window", "shapes", _without_bias(lambda b, i, o: i < 3 < o)),
    "last_block": Control(54, "only the last block's partial sum", "long", changed(_last_block), "float32"),
}  # fmt: skip
