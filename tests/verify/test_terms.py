"""What terms leave of each other: how large they are, and what that means for who differs there."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Layer, Operand, Strategy
from harness.records.schema import Check, Group
from harness.run.coverage import unchecked_dtype, unchecked_groups
from harness.verify.asking import Local, claims_of
from harness.verify.checks import VALUES
from harness.verify.judging import Subject, compare
from harness.verify.reference import Yardstick
from harness.verify.terms import terms_of

SIZES = ({"B": 2, "T": 5, "D": 7}, {"B": 1, "T": 1, "D": 1})
LAYER = Layer(
    inputs={n: Operand(("B", "T", "D")) for n in "qkv"},
    parameters={"bias": Operand(("D",))},
    output=("B", "T", "D"),
    check=SIZES,
)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return torch.softmax(q @ (k + bias).transpose(-1, -2), -1) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k + bias, v, scale=1.0)


def _compare(layer: Layer, reference: Any, forward: Any, size: int, dtype: str, seed: int = 0) -> dict[str, Check]:
    strategy = Strategy(forward)
    local = Local(layer, strategy)
    subject = Subject("l", layer, "s", claims_of(strategy), local, Yardstick(Strategy(reference)), "cpu")
    return {c.tensor: c for c in compare(subject, VALUES, layer.check[size], dtype, seed)}


def test_the_size_of_terms_is_what_is_added_up_and_not_what_is_left() -> None:
    x = torch.linspace(1, 2, 1000, dtype=torch.float64)

    def ask() -> dict[str, Tensor]:
        y = x * 3
        return {"same": y.sum(), "nothing": y.sum() - y.sum(), "exact": -y.new_ones(3), "apart": (y - x * 3)}

    terms = terms_of(ask, ask())
    assert 1 < terms["nothing"] / 4500 < 5
    assert terms["same"] < 4500 * 5
    assert terms["exact"] == 0
    assert terms["apart"] == pytest.approx((2**0.5 * 3 * x).norm().item(), rel=0.2)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_true_answer_of_nothing_is_told_and_rounding_passes(dtype: str) -> None:
    found = _compare(LAYER, attention, fused, 0, dtype)
    assert {n: c.result for n, c in found.items() if n != "gradient of bias"} == dict.fromkeys(
        ["output", "gradient of q", "gradient of k", "gradient of v"], "ok"
    )
    assert (found["gradient of bias"].result, found["gradient of bias"].vanishes) == ("ill_conditioned", True)
    assert "the true answer is 0" in found["gradient of bias"].detail


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_step_of_attention_has_no_gradient_and_no_alarm(dtype: str) -> None:
    found = _compare(LAYER, attention, fused, 1, dtype)
    assert found["gradient of q"].result == found["gradient of k"].result == "ill_conditioned"
    assert found["gradient of v"].result == "ok"


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_more_than_rounding_where_nothing_should_be_is_wrong(dtype: str) -> None:
    def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return attention(q, k, v, bias) + (bias - bias.detach()).sum()

    assert _compare(LAYER, attention, forward, 0, dtype)["gradient of bias"].result == "wrong"


def test_a_reference_that_is_off_without_large_terms_makes_nothing_ill_conditioned() -> None:
    layer = Layer(
        inputs={"x": Operand(("N", "D"))},
        parameters={"w": Operand(("D",))},
        output=("N", "D"),
        check=({"N": 7, "D": 5},),
    )

    def sloppy(x: Tensor, w: Tensor) -> Tensor:
        return (x * w) if x.dtype is torch.float64 else (x * w) + 0.5 * x.detach().abs().amax()

    found = _compare(layer, sloppy, lambda x, w: x * w * 0, 0, "bfloat16")
    assert found["output"].result == "ok"  # by the error rule, whose bound is the reference's own
    assert found["gradient of x"].result == "wrong"
    assert not any(c.result == "ill_conditioned" for c in found.values())


@pytest.mark.parametrize("factor", [0.5, 2.0, -1.0])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_factor_is_refused_where_there_are_digits(factor: float, dtype: str) -> None:
    def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        y = attention(q, k, v, bias)
        return factor * y + (1 - factor) * y.detach()

    found = _compare(LAYER, attention, forward, 0, dtype)
    assert [found[f"gradient of {n}"].result for n in "qkv"] == ["wrong"] * 3


def _check(tensor: str, dtype: str, dims: str, result: Any, vanishes: bool = False) -> Check:
    return Check("l", "s", "values", dtype, "cpu", dims, tensor, result, detail="few digits", vanishes=vanishes)


def _group(dims: str, dtype: str) -> Group:
    return Group("l", dims, dtype, "cpu", 1)


def test_a_measured_size_of_which_a_tensor_was_never_judged_is_unchecked() -> None:
    values = [
        _check("output", "float32", "N=1", "ok"),
        _check("gradient of x", "float32", "N=1", "ill_conditioned"),
        _check("output", "float32", "N=9", "ok"),
        _check("gradient of x", "float32", "N=9", "ok"),
        _check("answer", "float32", "N=5", "not_run"),
    ]
    found = dict(unchecked_groups(values, [_group(f"N={n}", "float32") for n in (1, 9, 5, 3)]))
    assert {g.dims: why for g, why in found.items()} == {
        "N=1": "values: gradient of x, float32, N=1: few digits",
        "N=5": "values: output, float32, N=5: few digits",
    }
    assert unchecked_dtype(values, ["float32"]) == ""


def test_a_dtype_that_is_not_asked_leaves_its_sizes_unchecked() -> None:
    values = [_check("answer", "float64", "N=1", "not_run"), _check("output", "float32", "N=1", "ok")]
    groups = [_group("N=9", "float64"), _group("N=1", "float32")]
    assert dict(unchecked_groups(values, groups)) == {groups[0]: "few digits"}


def test_what_is_ill_conditioned_at_every_size_of_a_dtype_is_unchecked_unless_it_vanishes() -> None:
    def case(vanishes: bool) -> list[Check]:
        digits = [_check("gradient of x", "float32", "N=1", "ok")]
        return [*digits, _check("gradient of x", "bfloat16", "N=1", "ill_conditioned", vanishes)]

    words = "values: gradient of x, bfloat16, N=1: few digits; add a size to the layer's check"
    assert unchecked_dtype(case(vanishes=False), ["float32", "bfloat16"]) == words
    assert unchecked_dtype(case(vanishes=True), ["float32", "bfloat16"]) == ""
