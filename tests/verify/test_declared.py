"""Limits that a strategy declares, and gradients that a layer defines: shown, asked all the same, never wrong."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import Layer, Operand, Strategy, integers
from harness.layers.limits import IMPLIED, LIMITS, declared
from harness.records.schema import CHECKS, Check
from harness.verify.asking import Local, StrategyError, claims_of
from harness.verify.controls.control import function
from harness.verify.declared import within_limits
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.suite import stages


def _layer(**more: Any) -> Layer:
    return Layer(
        inputs={"x": Operand(("N", "D"))}, parameters={"w": Operand(("D",))}, output=("N", "D"),
        check=({"N": 7, "D": 5}, {"N": 1, "D": 1}), leading="N", **more,
    )  # fmt: skip


def _subject(strategy: Strategy, reference: Any, layer: Layer) -> Subject:
    yardstick = Yardstick(Strategy(reference))
    return Subject("gain", layer, "mine", claims_of(strategy), Local(layer, strategy), yardstick, "cpu")


def _asked(subject: Subject, *checks: str) -> list[Check]:
    wanted = [s for s in stages(subject, 0) if s.check in checks]
    return [r for s in wanted for r in s.run() if isinstance(r, Check)]


def _gain(x: Tensor, w: Tensor) -> Tensor:
    return x * w


def _slopes(ctx: Any, g: Tensor, x: Tensor, w: Tensor, y: Tensor) -> Any:
    return g * w, (g * x).sum(0)


def _once(**claims: Any) -> Strategy:
    call = function(_gain, _slopes, decorate=once_differentiable)
    return Strategy(lambda x, w: call(x, w), **claims)


def test_a_lost_second_derivative_is_wrong_until_it_is_declared() -> None:
    checks = ("double_backward", "third_order")
    undeclared = _asked(_subject(_once(), _gain, _layer()), *checks)
    assert {(c.check, c.result) for c in undeclared} >= {(name, "wrong") for name in checks}
    found = _asked(_subject(_once(limits=("double_backward",)), _gain, _layer()), *checks)
    assert {(c.check, c.result) for c in found} == {(name, "limited") for name in checks}
    assert any("declared not to be offered, and silently wrong: error" in c.detail for c in found)


def test_what_is_declared_and_right_is_a_limit_that_says_so() -> None:
    found = _asked(_subject(Strategy(_gain, limits=("jacrev",)), _gain, _layer()), "jacrev", "func_grad")
    assert {(c.check, c.result) for c in found} == {("jacrev", "limited"), ("func_grad", "ok")}
    assert {c.detail for c in found if c.check == "jacrev"} == {"declared not to be offered, though it is right here"}


def test_a_limit_hides_nothing_else() -> None:
    def half(ctx: Any, g: Tensor, x: Tensor, w: Tensor, y: Tensor) -> Any:
        return g * w / 2, (g * x).sum(0)

    call = function(_gain, half)
    subject = _subject(Strategy(lambda x, w: call(x, w), limits=LIMITS), _gain, _layer())
    assert "wrong" in {c.result for c in _asked(subject, "values")}


@pytest.mark.parametrize(("status", "limit"), [("runtime_error", True), ("compile_error", True), ("oom", False)])
def test_what_a_declared_check_raises_is_a_limit_but_for_want_of_memory(status: Any, limit: bool) -> None:
    def run() -> list[Check]:
        raise StrategyError(status, "ValueError: no")

    subject = _subject(Strategy(_gain, limits=("compile",)), _gain, _layer())
    if not limit:
        with pytest.raises(StrategyError):
            within_limits(subject, "compile", run)
        return
    (found,) = within_limits(subject, "described", run)
    assert (found.result, found.detail) == ("limited", "declared not to be offered: ValueError: no")
    with pytest.raises(StrategyError):
        within_limits(subject, "accumulation", run)


def test_limits_are_checks_and_those_of_plain_training_are_none() -> None:
    assert {*LIMITS} <= {*CHECKS}
    assert declared(LIMITS) <= {*LIMITS}
    assert {n for names in IMPLIED.values() for n in names} <= {*LIMITS}
    plain = {"values", "untouched", "launches", "cotangents", "layouts", "frozen", "updated", "accumulation", "repeats",
             "global_state", "settled", "steady_memory", "guarded", "training"}  # fmt: skip
    assert not plain & {*LIMITS}
    with pytest.raises(ValueError, match=r"limits 'values': choose from double_backward, third_order"):
        Strategy(_gain, limits=("values",))
    with pytest.raises(ValueError, match=r"limits 'compile': give a tuple"):
        Strategy(_gain, limits="compile")  # type: ignore[arg-type]


def _rounded(x: Tensor, w: Tensor) -> Tensor:
    return x * (w + (torch.round(w) - w).detach())


def _straight_through(scale: float, of_x: float = 1.0) -> Strategy:
    def backward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, y: Tensor) -> Any:
        return of_x * g * torch.round(w), scale * (g * x).sum(0)

    call = function(lambda x, w: x * torch.round(w), backward)
    return Strategy(lambda x, w: call(x, w))


def test_a_gradient_by_definition_is_held_against_the_reference_and_not_against_differences() -> None:
    plain, defined = _layer(), _layer(gradient="by definition")
    (found,) = _asked(_subject(_straight_through(1.0), _rounded, plain), "gradcheck")
    assert (found.result, found.tensor) == ("limited", "gradient of w")
    assert found.detail.endswith('so this is a definition: say gradient="by definition"')
    (found,) = _asked(_subject(_straight_through(1.0, 1.01), _rounded, plain), "gradcheck")
    assert (found.result, found.tensor) == ("wrong", "gradient of x")
    assert (
        found.detail == "is not the derivative by differences: Jacobian mismatch for output 0 with respect to input 0"
    )
    (found,) = _asked(_subject(_straight_through(1.0), _rounded, defined), "gradcheck")
    assert found.result == "not_applicable"
    assert {c.result for c in _asked(_subject(_straight_through(1.0), _rounded, defined), "values")} == {"ok"}
    assert "wrong" in {c.result for c in _asked(_subject(_straight_through(0.5), _rounded, defined), "values")}


def test_a_padding_row_s_gradient_is_a_definition_too() -> None:
    def taken(rows: Tensor, w: Tensor) -> Tensor:
        return torch.nn.functional.embedding(rows, w, padding_idx=0)

    def layer(**more: Any) -> Layer:
        return Layer(
            inputs={"rows": Operand(("N",), integers("V"), dtype="int64", differentiable=False)},
            parameters={"w": Operand(("V", "D"))}, output=("N", "D"), check=({"N": 7, "V": 3, "D": 2},), leading="N",
            **more,
        )  # fmt: skip

    (found,) = _asked(_subject(Strategy(taken), taken, layer()), "gradcheck")
    assert (found.result, found.tensor) == ("wrong", "gradient of w")
    defined = layer(gradient="by definition")
    (found,) = _asked(_subject(Strategy(taken), taken, defined), "gradcheck")
    assert found.result == "not_applicable"
    padded = Strategy(lambda rows, w: w[rows])
    assert "wrong" in {c.result for c in _asked(_subject(padded, taken, defined), "values")}


def test_a_layer_says_how_its_gradient_is_meant_in_known_words() -> None:
    with pytest.raises(ValueError, match=r"gradient 'straight-through': choose from derivative, by definition"):
        _layer(gradient="straight-through")
