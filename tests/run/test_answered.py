"""What a stage of the gate raises: the strategy's wrong answer, the judge's own failure, or the end of the gate."""

from dataclasses import replace
from typing import Any

import pytest

from harness import Layer, Operand, Strategy
from harness.run.gate import answered, failed, unjudged
from harness.verify.asking import Local, StrategyError, claims_of
from harness.verify.judging import Subject
from harness.verify.probes import WrongAnswerError, gradients
from harness.verify.reference import Yardstick
from harness.verify.stage import Stage

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"w": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 4, "D": 3},),
    causal="N",
)


def _forward(x: Any, w: Any) -> Any:
    return x * w


def _subject(forward: Any = _forward) -> Subject:
    strategy = Strategy(forward)
    return Subject("l", layer, "s", claims_of(strategy), Local(layer, strategy), Yardstick(Strategy(_forward)), "cpu")


def _raising(error: Exception) -> Stage:
    def run() -> Any:
        raise error

    return Stage("repeats", "repeats float32", run, "float32", "N=4,D=3")


def test_an_answer_that_is_wrong_whatever_its_numbers_is_a_record_of_its_stage() -> None:
    (record,) = answered(_subject(), _raising(WrongAnswerError("output", "has no shape")))
    assert (record.check, record.dims, record.tensor) == ("repeats", "N=4,D=3", "output")  # type: ignore[union-attr]
    assert failed(record)
    assert record.detail == "has no shape"


def test_a_check_that_asks_by_itself_is_covered_too() -> None:
    subject = _subject(lambda x, w: (x * w)[:2])

    def ask() -> Any:
        return subject.asked.ask(gradients, layer.check[0], [subject.draw(layer.check[0], "float32", 0)])

    stage = Stage("causality", "causality", ask, "float32", "N=4,D=3")
    (record,) = answered(subject, stage)
    assert record.result == "wrong"
    assert record.detail == "shape is (2, 3), not (4, 3)"


def test_a_failure_of_the_judge_is_the_judge_s() -> None:
    (record,) = answered(_subject(), _raising(IndexError("Dimension out of range")))
    assert (record.result, unjudged(record), failed(record)) == ("not_run", True, False)
    words = "the judge failed in repeats float32, which is no fault of the strategy: IndexError: Dimension out of range"
    assert record.detail.startswith(words)
    assert "test_answered.py:" in record.detail


def test_what_a_strategy_raises_ends_its_gate() -> None:
    with pytest.raises(StrategyError):
        answered(_subject(), _raising(StrategyError("runtime_error", "no")))


def test_only_the_judge_s_own_record_says_that_it_failed() -> None:
    (record,) = answered(_subject(), _raising(KeyError("output")))
    assert not unjudged(replace(record, tensor="output"))  # type: ignore[type-var]
