"""Zeros, equal numbers, empty masks, NaN and infinities: what is wrong, and what is a matter of definition."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Layer, Operand, Strategy
from harness.records.schema import Check
from harness.verify.asking import Local, claims_of
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.special_values import answered

DIMS = {"B": 3, "T": 4, "D": 5}


def _visible(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A random mask that leaves at least the first of each row."""
    mask = torch.rand(shape, generator=generator, device=generator.device) > 0.4
    mask[..., 0] = True
    return mask


attention = Layer(
    inputs={"x": Operand(("B", "T", "D")), "mask": Operand(("B", "T"), _visible, differentiable=False, dtype="bool")},
    parameters={"w": Operand(("D",))},
    output=("B", "D"),
    check=(DIMS,),
    leading="B",
)
pointwise = Layer(
    inputs={"x": Operand(("N", "D"))}, parameters={"w": Operand(("D",))}, output=("N", "D"), check=({"N": 6, "D": 5},),
    leading="N",
)  # fmt: skip


def _pooled(x: Tensor, mask: Tensor, w: Tensor) -> Tensor:
    scores = (x @ w).masked_fill(~mask, -torch.inf)
    return (torch.softmax(scores, -1)[..., None] * x).sum(-2)


def _zero_where_empty(x: Tensor, mask: Tensor, w: Tensor) -> Tensor:
    scores = (x @ w).masked_fill(~mask, -torch.inf)
    weights = torch.softmax(scores.masked_fill(~mask.any(-1, keepdim=True), 0.0), -1)
    return (weights[..., None] * x * mask.any(-1)[:, None, None]).sum(-2)


def _checks(layer: Layer, reference: Any, forward: Any, dtype: str = "float32", seed: int = 0) -> list[Check]:
    strategy = Strategy(forward)
    subject = Subject(
        "layer", layer, "tested", claims_of(strategy), Local(layer, strategy), Yardstick(Strategy(reference)), "cpu"
    )
    return answered(subject, layer.check[0], dtype, seed, few=False)


def _of(checks: list[Check], setting: str) -> Check:
    (found,) = (c for c in checks if c.setting == setting)
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_row_with_nothing_in_it_is_a_matter_of_definition(dtype: str) -> None:
    checks = _checks(attention, _pooled, _zero_where_empty, dtype)
    empty = _of(checks, "a row of 0 in mask")
    assert empty.result == "limited"
    assert empty.detail.startswith("definition: NaN against 0")
    assert all(c.result == "limited" for c in checks)


def test_a_layer_may_hold_strategies_to_its_own_definition() -> None:
    layer = replace(attention, nonfinite="as reference")
    found = _of(_checks(layer, _pooled, _zero_where_empty), "a row of 0 in mask")
    assert found.result == "wrong"
    assert "NaN against 0" in found.detail


def test_what_a_layer_says_of_infinities_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="nonfinite"):
        replace(attention, nonfinite="never")  # type: ignore[arg-type]


RIGHT = {
    "the same": lambda x, w: torch.relu(x) * w,
    "another subgradient at 0": lambda x, w: torch.where(x >= 0, x, 0.0 * x) * w,
    "by halves": lambda x, w: (x + x.abs()) / 2 * w,
}
WRONG = {
    "NaN is not greater than 0": lambda x, w: torch.where(x > 0, x, 0.0) * w,
    "NaN is replaced": lambda x, w: torch.relu(x.nan_to_num()) * w,
    "over all rows": lambda x, w: torch.relu(x) * w + 0 * x.sum(),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("forward", RIGHT.values(), ids=RIGHT)
def test_another_spelling_of_a_bend_is_not_wrong(forward: Any, seed: int) -> None:
    assert {c.result for c in _checks(pointwise, RIGHT["the same"], forward, seed=seed)} <= {"ok", "limited"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("forward", WRONG.values(), ids=WRONG)
def test_a_hidden_or_spread_nan_is_wrong(forward: Any, seed: int) -> None:
    found = _of(_checks(pointwise, RIGHT["the same"], forward, seed=seed), "one NaN in x")
    assert found.result == "wrong"


def _centred(x: Tensor, w: Tensor) -> Tensor:
    return torch.layer_norm(x, x.shape[-1:], w)


def _centred_by_hand(x: Tensor, w: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x * x).mean(-1, keepdim=True) - mean * mean
    return (x - mean) * torch.rsqrt(variance.clamp_min(0) + 1e-5) * w


def _largest(x: Tensor, w: Tensor) -> Tensor:
    return (x - x.max(-1, keepdim=True).values) * w


def _largest_of_all_that_are(x: Tensor, w: Tensor) -> Tensor:
    return (x - x.amax(-1, keepdim=True)) * w


@pytest.mark.parametrize(("dtype", "seed"), [("float64", 0), ("float32", 1), ("float32", 2), ("bfloat16", 3)])
@pytest.mark.parametrize("pair", [(_largest, _largest_of_all_that_are), (_largest_of_all_that_are, _largest)])
def test_which_of_equal_numbers_is_the_largest_is_a_definition(pair: Any, dtype: str, seed: int) -> None:
    checks = _checks(pointwise, *pair, dtype=dtype, seed=seed)
    assert _of(checks, "a row of zeros in x").result == "limited"
    assert {c.result for c in checks if "NaN" not in c.setting} == {"limited"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(5))
def test_rounding_of_what_cancels_is_not_wrong(dtype: str, seed: int) -> None:
    assert {c.result for c in _checks(pointwise, _centred, _centred_by_hand, dtype, seed)} <= {"ok", "limited"}


def _unit(x: Tensor, w: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6) * w


def test_a_nan_gradient_at_a_row_of_zeros_is_wrong() -> None:
    def unit(x: Tensor, w: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).sum(-1, keepdim=True)).clamp_max(1e6) * w

    found = _of(_checks(pointwise, _unit, unit), "a row of zeros in x")
    assert (found.result, found.tensor) == ("wrong", "gradient of x")
    assert "against NaN" in found.detail


def test_the_other_rows_are_held_to_their_own_scale() -> None:
    """A million times as large a gradient at a row of zeros leaves no room for the other rows."""

    def unit(x: Tensor, w: Tensor) -> Tensor:
        y = _unit(x, w)
        return torch.where((x == 0).all(-1).any(), y + 1e-3 * (x - x.detach()), y)

    assert _of(_checks(pointwise, _unit, unit), "a row of zeros in x").result == "wrong"
