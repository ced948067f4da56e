"""Faults that show at other shapes, layouts and types."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.verify.controls.control import Control
from tests.verify.variants.gate import forward, over_rows, plain, with_slopes
from tests.verify.variants.gradients import rows_are_dense


def _workspace_of_the_first_block(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    """The first block of rows clears it, and there may be none."""
    total = torch.full_like(over_rows(db), math.nan)
    for start in range(0, db.shape[0], 4):
        block = over_rows(db[start : start + 4])
        total = block if start == 0 else total + block
    return dx, over_rows(da), total


def _rows_of_the_first_dim(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    return dx, over_rows(da), db.reshape(-1, db.shape[-1])[: db.shape[0]].sum(0)


def _dense_rows_of_the_input(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    read = rows_are_dense(x) if x.dim() == 2 else x
    return forward(x + (read - x).detach(), slope, shift)


def _running_total_in_half(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    """Tiles of 32 rows, each added to a total of the inputs' own type."""
    total = torch.zeros_like(over_rows(da))
    for tile in da.flatten(0, -2).split(32):
        total = total + tile.sum(0)
    return dx, total, over_rows(db)


def _product_in_tf32(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    z = x @ torch.diag(slope) + shift
    torch.set_float32_matmul_precision(before)
    return x * torch.sigmoid(z)


def _rows_times_stride_in_int32(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    with np.errstate(over="ignore"):
        rows = np.arange(x.shape[0], dtype=np.int32)[:, None] * np.array(x.stride(0)).astype(np.int32)
    at = torch.from_numpy(rows).long() + torch.arange(x.shape[1]) * x.stride(1)
    flat = x.detach().as_strided((x.stride(0) * (x.shape[0] - 1) + x.shape[1],), (1,))
    return forward(x + (flat[at % len(flat)] - x.detach()), slope, shift)


def _autocast_of_the_other_device(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y = forward(x, slope, shift)
    return y.to(torch.get_autocast_dtype("cuda")) if torch.is_autocast_enabled("cpu") else y


CONTROLS = {
    "empty": Control(24, "a workspace is cleared by the first block", "empty", with_slopes(_workspace_of_the_first_block)),
    "flattened": Control(25, "shape[0] taken for the number of rows", "leading_dims", with_slopes(_rows_of_the_first_dim)),
    "contiguous_input": Control(26, "takes the columns' stride for 1", "layouts", plain(_dense_rows_of_the_input)),
    "narrow_partials": Control(27, "a running total in half precision", "long", with_slopes(_running_total_in_half)),
    "tf32": Control(28, "TF32 in float32", "values", plain(_product_in_tf32), cuda=True),
    "offsets": Control(29, "row times stride in 32 bits", "far_apart", plain(_rows_times_stride_in_int32)),
    "half_autocast": Control(30, "the other device's autocast dtype", "autocast", plain(_autocast_of_the_other_device)),
}  # fmt: skip

MORE: dict[str, Control] = {}
