"""What a call of a pass is: a step gives output and gradients and moves the parameters; no roof without a cost."""

import dataclasses
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from harness import Layer, Operand, Strategy
from harness.layers.drawing import draw
from harness.measure import passes
from harness.measure.passes import ready
from harness.records.schema import Group
from harness.run import unpaired
from harness.run.jobs import Cell

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 4, "D": 3},),
)


@pytest.mark.parametrize("first_layer", [False, True])
@pytest.mark.parametrize("gradients", ["tape", "func"])
def test_a_step_answers_as_forward_and_backward_and_moves_the_parameters(
    gradients: Literal["tape", "func"], first_layer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "STEP_SIZE", 0.5)
    seen: list[torch.Tensor] = []

    def forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        seen[:] = [weight.detach().clone()]
        return x * weight.square()

    first = dataclasses.replace(layer, first_layer=first_layer)
    values = draw(first, first.check[0], torch.float64, "cpu", 0)
    x, w, c = values.inputs["x"], values.parameters["weight"], values.cotangent
    calls = ready(first, Strategy(forward, gradients=gradients), first.check[0], values).calls
    output, found = calls["step"].run(calls["step"].prepare())
    of_x, of_weight = c * w.square(), (2 * c * x * w).sum(0)
    torch.testing.assert_close([output, *found], [x * w.square(), *([] if first_layer else [of_x]), of_weight])
    calls["forward"].run(calls["forward"].prepare())
    torch.testing.assert_close(seen[0], w - 0.5 * of_weight)
    torch.testing.assert_close(values.parameters["weight"], w)  # the strategy's own copy is what moves


def test_without_a_cost_there_is_no_work_to_hold_against_a_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpaired, "roofs", lambda *_: iter(()))
    process: Any = SimpleNamespace(layer=lambda _: layer, about_to=lambda *_: None)
    group = Group("scale", "N=4,D=3", "float32", "cpu", 1)
    assert list(unpaired.measure_roofs(process, Cell("roofs", (), group, sizes=(group,)))) == []
