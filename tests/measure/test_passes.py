"""What a layer does not state is done without: a step has a loss without a task, and no roof without a cost."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness import Layer, Operand, Strategy
from harness.layers.drawing import draw
from harness.measure.passes import ready
from harness.records.schema import Group
from harness.run import measuring
from harness.run.jobs import Cell

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 4, "D": 3},),
)


def test_a_step_without_a_task_takes_the_mean_squared_error() -> None:
    values = draw(layer, layer.check[0], torch.float64, "cpu", 0)
    call = ready(layer, Strategy(lambda x, weight: x * weight), layer.check[0], values).calls["step"]
    expected = (values.inputs["x"] * values.parameters["weight"] - values.target).square().mean()
    torch.testing.assert_close(call.answer(call.run(call.prepare()))[0], expected)


def test_without_a_cost_there_is_no_work_to_hold_against_a_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "roofs", lambda *_: iter(()))
    process: Any = SimpleNamespace(layer=lambda _: layer, about_to=lambda *_: None)
    group = Group("scale", "N=4,D=3", "float32", "cpu", 1)
    assert list(measuring.measure_roofs(process, Cell("roofs", (), group, sizes=(group,)))) == []
