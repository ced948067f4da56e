"""A layer that is to be judged by is looked at first; what only its reference cannot do is not held against anybody."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Cost, Layer, Operand, Strategy
from harness.verify import probes
from harness.verify.asking import Local, claims_of
from harness.verify.checks import values
from harness.verify.judging import Subject, compare
from harness.verify.reference import Question, Yardstick
from harness.verify.soundness import UnsoundLayerError, refuse_unsound
from harness.verify.suite import stages

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 4, "D": 3}, {"N": 1, "D": 1}),
)


def _scale(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight


def _even_rows_only(x: Tensor, weight: Tensor) -> Tensor:
    if x.shape[0] % 2:
        raise ValueError("an odd number of rows")
    return x * weight


def _subject(reference: Strategy, mine: Strategy, of: Layer = layer) -> Subject:
    return Subject("scale", of, "mine", claims_of(mine), Local(of, mine), Yardstick(reference), "cpu")


def test_a_sound_layer_passes() -> None:
    refuse_unsound(layer, Strategy(_scale), "cpu")


@pytest.mark.parametrize(
    ("fields", "reference", "line"),
    [
        ({}, lambda x, weight: x, "in its reference no gradient reached weight"),
        ({}, lambda x, weight: (x * weight).sum(), r"its reference is wrong at N=4,D=3: output shape is \(\), not \(4, 3\)"),
        ({}, lambda x, weight: x.add_(1) * weight, "its reference fails at N=4,D=3: RuntimeError: a leaf Variable"),
        ({}, lambda x, weight: (x * weight, x), "output is a tuple of 2: return one tensor"),
        ({}, lambda x: x, r"the forward takes \(x\), and is called with x, weight by name"),
        ({}, lambda x, weight: x * weight * torch.rand(()), "gives another output for the same values"),
        ({}, lambda x, weight: x * weight / 0, "its reference's output is not finite at N=4,D=3"),
        ({}, lambda x, weight: (x * weight).mul(0).sqrt(), "its reference's gradient of x is not finite at N=4,D=3"),
        ({"cost": lambda passed, dims: Cost(1)}, _scale, "its cost raised for forward: TypeError"),
        ({"inputs": {"x": Operand(("N", "D"), lambda shape, generator: None)}}, _scale,  # type: ignore[arg-type, return-value]
         "the draw of x gave a NoneType: give a tensor of shape"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_must_be_is_said(fields: dict[str, Any], reference: Any, line: str) -> None:
    with pytest.raises(UnsoundLayerError, match=line) as error:
        refuse_unsound(dataclasses.replace(layer, **fields), Strategy(reference), "cpu")
    assert "\n" not in str(error.value)


def test_sizes_of_the_gate_s_own_that_the_reference_refuses_are_not_run() -> None:
    subject = _subject(Strategy(_even_rows_only), Strategy(_scale))
    asked = Question("shapes", probes.gradients)
    (found,) = compare(subject, asked, {"N": 5, "D": 3}, "float32", 0, 1)
    assert (found.result, found.detail) == (
        "not_run", "its reference fails in shapes at N=5,D=3: ValueError: an odd number of rows",
    )  # fmt: skip
    assert {c.result for c in compare(subject, asked, {"N": 6, "D": 3}, "float32", 0, 1)} == {"ok"}
    with pytest.raises(UnsoundLayerError, match="its reference fails in shapes at N=1,D=1"):
        compare(subject, asked, layer.check[1], "float32", 0, 1)


def test_sizes_that_a_layer_cannot_have_are_not_asked_for() -> None:
    def even(dims: Any) -> tuple[int, ...]:
        from harness.layers.spec import ImpossibleDimsError

        if dims["D"] % 2:
            raise ImpossibleDimsError("odd")
        return (dims["D"],)

    picky = dataclasses.replace(
        layer, parameters={"weight": Operand(even)}, check=({"N": 4, "D": 2},), sizes={}, leading="N"
    )
    subject = _subject(Strategy(_scale), Strategy(_scale), picky)
    asked = [s.dims for s in stages(subject, 0, "standard") if s.check == "shapes"]
    assert asked
    assert all(int(text.split("D=")[1]) % 2 == 0 for text in asked)


@pytest.mark.parametrize(("operands", "masks"), [(3, 8), (7, 16)])
def test_many_operands_are_not_frozen_in_every_combination(operands: int, masks: int) -> None:
    names = [f"weight{n}" for n in range(operands - 1)]
    many = dataclasses.replace(layer, parameters={name: Operand(("D",)) for name in names})
    some = Strategy(_scale)
    found = [s for s in stages(_subject(some, some, many), 0, "quick") if s.check == "frozen"]
    found = [s for s in found if " for " in s.text and s.dtype == "float64"]
    assert len(found) == masks


def test_a_wrong_strategy_that_is_random_is_called_so_and_one_that_then_raises_is_just_wrong() -> None:
    calls = []

    def gives_up(x: Tensor, weight: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 8:
            raise RuntimeError("enough")
        return 2 * x * weight

    def drops(x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.dropout(x * weight)

    def doubles(x: Tensor, weight: Tensor) -> Tensor:
        return 2 * x * weight

    said = "it answers otherwise to the same values: dropout, or another random draw"
    for forward, detail in ((drops, said), (doubles, ""), (gives_up, "")):
        found = values(_subject(Strategy(_scale), Strategy(forward)), layer.check[0], "float64", 0)
        assert {(c.result, c.detail) for c in found} == {("wrong", detail)}
    assert len(calls) == 9
