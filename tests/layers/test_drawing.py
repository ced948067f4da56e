"""Values are drawn in the case's dtype; what means little in a narrow one stays wider, also when the rest is cast."""

import dataclasses

import pytest
import torch
from torch import Tensor

from harness.layers.drawing import draw, moved
from harness.verify.controls.sequence import layer

DIMS = {"B": 2, "T": 7, "D": 3}
TIMED = dataclasses.replace(
    layer,
    inputs={**layer.inputs, "t": dataclasses.replace(layer.inputs["t"], least="float32", differentiable=False)},
)


@pytest.mark.parametrize(
    ("dtype", "of_times"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_an_operand_is_never_narrower_than_its_least_dtype(dtype: str, of_times: str) -> None:
    kind, wanted = getattr(torch, dtype), getattr(torch, of_times)
    drawn = draw(TIMED, DIMS, kind, "cpu", 0)
    for values in (drawn, drawn.to(kind), draw(TIMED, DIMS, torch.float64, "cpu", 0).to(kind)):
        assert values.inputs["t"].dtype == wanted
        assert values.inputs["x"].dtype == values.parameters["rate"].dtype == values.cotangent.dtype == kind
    assert torch.equal(drawn.inputs["t"].double(), draw(TIMED, DIMS, torch.float64, "cpu", 0).inputs["t"].to(wanted))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5, 7)[:, ::2], torch.randn(3, 1).expand(3, 4), torch.randn(4, 3).T, torch.randn(6, 5)[2:, 1:],
        torch.randn(0, 8)[:, ::2], torch.tensor(2.0).expand(2, 3),
    ],
    ids=["strided", "expanded", "transposed", "offset", "empty", "scalar"],
)  # fmt: skip
def test_what_is_moved_keeps_its_strides(tensor: Tensor) -> None:
    there = moved(tensor, "meta")
    assert (there.shape, there.stride(), there.device.type) == (tensor.shape, tensor.stride(), "meta")
    assert moved(tensor, "cpu") is tensor


def test_leaves_require_a_gradient_where_they_are_differentiable() -> None:
    values = draw(TIMED, DIMS, torch.float32, "cpu", 0)
    leaves = values.leaves()
    assert {n: x.requires_grad for n, x in leaves.items()} == {"x": True, "t": False}
    assert list(values.differentiable()) == ["x"]
    assert all(torch.equal(x, values.inputs[n]) and x is not values.inputs[n] for n, x in leaves.items())
