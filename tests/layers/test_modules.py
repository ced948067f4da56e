"""A layer from a module: names, shapes, values and buffers are the module's own."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import Layer, Operand, Strategy, integers
from harness.layers.calling import ForwardError
from harness.layers.drawing import draw
from harness.layers.gradients import build
from harness.layers.spec import ImpossibleDimsError

CHECK: tuple[dict[str, int], ...] = ({"N": 3, "D": 6, "HEADS": 2},)


class Net(nn.Module):
    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        if D % heads:
            raise AssertionError("heads must divide D")
        self.up = nn.Linear(D, 2 * D)
        self.norm = nn.LayerNorm(2 * D)
        self.register_buffer("mask", torch.arange(2 * D) % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.get_buffer("mask"), self.norm(self.up(x)), 0).sum(-1)


def _layer(**more: Any) -> Layer:
    return Layer.of_module(Net, {"x": ("N", "D")}, output=("N",), check=CHECK, **more)


def test_parameters_and_buffers_are_the_module_s() -> None:
    layer = _layer()
    assert list(layer.inputs) == ["x", "mask"]
    assert list(layer.parameters) == ["up_weight", "up_bias", "norm_weight", "norm_bias"]
    assert layer.inputs["mask"].dtype == "bool"
    assert not layer.inputs["mask"].differentiable
    dims = {"N": 3, "D": 4, "HEADS": 2}
    assert {n: o.sizes(dims) for n, o in layer.operands.items()} == {
        "x": (3, 4), "mask": (8,), "up_weight": (8, 4), "up_bias": (8,), "norm_weight": (8,), "norm_bias": (8,),
    }  # fmt: skip
    assert layer.sizes["cuda"]["quick"] == CHECK
    assert layer.possible(dims)
    assert not layer.possible({"N": 3, "D": 5, "HEADS": 2})


def test_values_are_the_module_s_own_seeded_and_never_one_number_everywhere() -> None:
    layer, before = _layer(), torch.get_rng_state()
    one, two, other = (draw(layer, CHECK[0], torch.float32, "cpu", seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for name in layer.parameters:
        assert torch.equal(one.parameters[name], two.parameters[name])
        assert not torch.equal(one.parameters[name], other.parameters[name])
        assert one.parameters[name].unique().numel() > 1
    assert one.parameters["up_weight"].abs().max() <= 6**-0.5  # nn.Linear's own bound
    assert one.parameters["norm_weight"].sub(1).abs().max() <= 0.5
    assert one.inputs["mask"].tolist() == [True, False] * 6


def test_a_state_dict_gives_the_values_where_its_shapes_fit() -> None:
    state = Net(6, 2).state_dict()
    layer = _layer(state=state)
    values = draw(layer, CHECK[0], torch.float32, "cpu", 0)
    for name, tensor in state.items():
        assert torch.equal({**values.inputs, **values.parameters}[name.replace(".", "_")], tensor)
    assert draw(layer, {"N": 1, "D": 8, "HEADS": 4}, torch.float32, "cpu", 0).parameters["up_bias"].shape == (16,)
    with pytest.raises(ForwardError, match="state has extra, which Net has not"):
        _layer(state={"extra": torch.zeros(1)})


@pytest.mark.parametrize("gradients", ["tape", "func"])
def test_a_module_is_called_with_the_parameters_and_buffers_that_it_is_given(gradients: Any) -> None:
    layer = _layer()
    values = draw(layer, CHECK[0], torch.float64, "cpu", 0)
    instance = build(Strategy(Net, gradients=gradients), CHECK[0], values.parameters)
    p, x = values.parameters, values.inputs
    up = nn.functional.linear(x["x"], p["up_weight"], p["up_bias"])
    normal = nn.functional.layer_norm(up, (12,), p["norm_weight"], p["norm_bias"])
    for mask in (x["mask"], ~x["mask"]):
        expected = torch.where(mask, normal, 0).sum(-1)
        torch.testing.assert_close(instance.call(instance.parameters, {**x, "mask": mask}), expected)
        torch.testing.assert_close(instance.pure(p, {**x, "mask": mask}), expected)


def test_a_partial_module_is_a_module() -> None:
    made = functools.partial(nn.Linear, bias=False)
    check: tuple[dict[str, int], ...] = ({"N": 2, "IN_FEATURES": 3, "OUT_FEATURES": 4},)
    layer = Layer.of_module(made, {"input": ("N", "IN_FEATURES")}, output=("N", "OUT_FEATURES"), check=check)
    assert list(layer.parameters) == ["weight"]
    values = draw(layer, check[0], torch.float32, "cpu", 0)
    instance = build(Strategy(made), check[0], values.parameters)
    found = instance.call(instance.parameters, values.inputs)
    torch.testing.assert_close(found, values.inputs["input"] @ values.parameters["weight"].T)


def test_what_a_module_cannot_be_built_from_is_said() -> None:
    with pytest.raises(
        ForwardError, match="the constructor of Net wants heads, and the dims are N, D: name a dim HEADS"
    ):
        Layer.of_module(Net, {"x": ("N", "D")}, output=("N",), check=({"N": 1, "D": 1},))
    with pytest.raises(ImpossibleDimsError, match=r"cannot be built at .*AssertionError: heads must divide D"):
        Layer.of_module(Net, {"x": ("N", "D")}, output=("N",), check=({"N": 1, "D": 3, "HEADS": 2},))


def test_labels_are_below_a_dim() -> None:
    operand = Operand(("N",), integers("C"), dtype="int64", differentiable=False)
    found = operand.drawn({"N": 1000, "C": 3}, torch.Generator().manual_seed(0))
    assert found.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": ("N",), "dtype": "int64"}, "an operand of int64 has no gradient: say differentiable=False"),
        (
            {"shape": ("N",), "dtype": "int3", "differentiable": False},
            "dtype of an operand 'int3': choose from , int64",
        ),
        ({"shape": "N"}, r"shape 'N': give a tuple, such as \('N',\)"),
    ],
)
def test_an_operand_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Operand(**fields)


def test_operands_are_python_names_each_but_once() -> None:
    one = {"x": Operand(("N",))}
    with pytest.raises(ValueError, match="x: both an input and a parameter"):
        Layer(inputs=one, parameters=one, output=("N",), check=({"N": 1},))
    with pytest.raises(ValueError, match="operand 'my x': not a Python name"):
        Layer(inputs={"my x": Operand(("N",))}, parameters=one, output=("N",), check=({"N": 1},))
