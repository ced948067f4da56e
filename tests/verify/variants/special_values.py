"""Faults at NaN, infinities, zeros and equal numbers."""

from typing import Any

import torch
from torch import Tensor

from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, by_hand, forward, over_rows, plain, slopes, wanted, with_slopes


def _clamped(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """A safeguard against overflow, in which NaN is taken for the bound."""
    z = x * slope + shift
    s = torch.sigmoid(torch.where(z > -1e4, z, -1e4))
    return x.where(x == x, 1.0) * s


def _padded_by_zeros(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """The next row is masked by a product."""
    return forward(x, slope, shift) + 0 * x.detach().roll(1, 0)


def _relative_to_the_input(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    return dx, over_rows(da), over_rows(db * da / da)


class _HiddenInTheBackward(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        return wanted(ctx, torch.nan_to_num(dx), over_rows(da), over_rows(db))


class _NoneAtZero(Gate):
    """A finite gradient that is not the right one where an input is 0."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        dx, da, db = slopes(g, x, slope, shift)
        return wanted(ctx, dx.where(x != 0, 0.0), over_rows(da), over_rows(db))


CONTROLS = {
    "nan_hidden": Control(50, "NaN fails a comparison", "special_values", plain(_clamped)),
    "nan_spread": Control(50, "a row is masked by a product", "special_values", plain(_padded_by_zeros)),
    "nan_at_zero": Control(50, "divides by what may be 0", "special_values", with_slopes(_relative_to_the_input)),
}  # fmt: skip

MORE = {
    "nan_in_backward": Control(50, "NaN is hidden in a gradient", "special_values", by_hand(_HiddenInTheBackward)),
    "none_at_zero": Control(50, "no gradient at 0", "special_values", by_hand(_NoneAtZero)),
}
