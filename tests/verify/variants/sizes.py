"""Faults at sizes of one kind."""

from typing import Any

import torch
from torch import Tensor

from harness.verify.controls.control import Control
from tests.verify.variants.gate import forward, over_rows, plain, with_slopes


def _tile_of_the_stated_width(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """A path for one width only, whose last element reads its neighbour's slope."""
    if x.shape[-1] == 56:
        slope = torch.cat([slope[:-1], slope[-2:-1]])
    return forward(x, slope, shift)


def _rows_in_vectors(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    """Whole vectors of rows in float32: their remainder is thought to be there where it is not."""
    rows = db.reshape(-1, db.shape[-1])
    aligned = db.dtype == torch.float32 and len(rows) % 128 == 0
    return dx, over_rows(da), over_rows(db) - (rows[-1] if aligned else 0)


def _pairs_of_columns(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    """Two columns are taken for a pair of one width."""
    sums = over_rows(da)
    return dx, sums.flip(-1) if sums.shape[-1] == 2 else sums, over_rows(db)


def _first_thousand(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    return dx, over_rows(da.flatten(0, -2)[:2000] if da.dtype == torch.float32 else da), over_rows(db)


CONTROLS = {
    "stated": Control(51, "a path for the stated width", "values", plain(_tile_of_the_stated_width)),
    "aligned": Control(51, "whole vectors of rows", "shapes", with_slopes(_rows_in_vectors)),
    "few_steps": Control(51, "two columns change places", "shapes", with_slopes(_pairs_of_columns)),
    "last_block": Control(54, "rows beyond the first blocks", "long", with_slopes(_first_thousand), "float32"),
}  # fmt: skip

MORE: dict[str, Control] = {}
