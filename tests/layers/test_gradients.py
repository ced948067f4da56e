"""Gradients sample by sample and model by model: in one call or in a loop, they are those of a backward for each."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Strategy
from harness.layers.drawing import draw
from harness.layers.gradients import Instance, build, of_each_model, of_each_sample, vjp
from harness.verify.controls.dense_layer import layer

DIMS = {"B": 5, "I": 3, "O": 4}


class Dense(torch.nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.zeros(I, O)), torch.nn.Parameter(torch.zeros(O))

    def forward(self, x: Tensor) -> Tensor:
        return bent(x, self.weight, self.bias)


def bent(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Not linear in its parameters, so that models differ in more than scale."""
    return torch.tanh(x @ weight + bias)


WAYS = [Strategy(forward, gradients=kind) for forward in (bent, Dense) for kind in ("tape", "func")]  # type: ignore[arg-type]


def _backward(parameters: dict[str, Tensor], inputs: dict[str, Tensor], cotangent: Tensor) -> list[Tensor]:
    _, pullback = vjp(build(Strategy(bent), DIMS, parameters), inputs)
    return pullback(cotangent)


@pytest.mark.parametrize("way", WAYS)
def test_each_sample_has_the_gradients_of_a_batch_of_one(way: Strategy) -> None:
    values = draw(layer, DIMS, torch.float64, "cpu", 0)
    found = of_each_sample(build(way, DIMS, values.parameters), values.inputs, values.cotangent)
    for i in range(DIMS["B"]):
        alone = {n: x[i : i + 1] for n, x in values.inputs.items()}
        right = _backward(values.parameters, alone, values.cotangent[i : i + 1])
        for got, wanted in zip(found, right, strict=True):
            torch.testing.assert_close(got[i], wanted)
    whole = _backward(values.parameters, values.inputs, values.cotangent)
    for got, wanted in zip(found, whole, strict=True):
        torch.testing.assert_close(got.sum(0), wanted)


@pytest.mark.parametrize("way", WAYS)
def test_each_model_has_the_gradients_of_its_own_parameters(way: Strategy) -> None:
    values = [draw(layer, DIMS, torch.float64, "cpu", seed) for seed in range(3)]
    models: list[dict[str, Any]] = [{n: p.requires_grad_() for n, p in v.parameters.items()} for v in values]
    instance: Instance = build(way, DIMS, values[0].parameters)
    found = of_each_model(instance, models, values[0].inputs, values[0].cotangent)
    for k, model in enumerate(models):
        for got, wanted in zip(found, _backward(model, values[0].inputs, values[0].cotangent), strict=True):
            torch.testing.assert_close(got[k], wanted)
