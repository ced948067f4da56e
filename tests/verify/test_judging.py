"""What the judge finds, on the affine layer without its option: each case is a small wrong strategy; and what it lets through."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from harness import Strategy
from harness.records.schema import Check
from harness.verify import arranging, derivatives, probes, upstream, wrapping
from harness.verify.asking import Local, StrategyError, claims_of
from harness.verify.checks import VALUES
from harness.verify.controls import sequence
from harness.verify.judging import Subject, check_untouched, compare, determinism, look, same_bits
from harness.verify.probes import WrongAnswerError
from harness.verify.reference import Question, Yardstick
from harness.verify.suite import stages
from harness.verify.training import check_training
from implementations import affine
from implementations.affine import autograd, function

DIMS = {"B": 7, "I": 13, "O": 5}
TASK = replace(affine.layer.task, dims={n: size for n, size in affine.layer.task.dims.items() if n != "gelu"})
layer = replace(affine.layer, check=(DIMS,), sizes={}, task=TASK, options={})
reference, by_hand = (Strategy(partial(way.forward, gelu=0)) for way in (autograd, function))
YARDSTICK = Yardstick(reference)


def _subject(strategy: Strategy) -> Subject:
    return Subject("affine", layer, "tested", claims_of(strategy), Local(layer, strategy), YARDSTICK, "cpu")


def _values(strategy: Strategy, dtype: str = "float32", seed: int = 0, dims: dict[str, int] = DIMS) -> list[Check]:
    return compare(_subject(strategy), VALUES, dims, dtype, seed)


def _function(backward: Any, forward: Any = torch.addmm) -> Strategy:
    class Affine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
            ctx.save_for_backward(x, weight, bias)
            return forward(bias, x, weight)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(g, *ctx.saved_tensors)

    return Strategy(lambda x, weight, bias: Affine.apply(x, weight, bias))


WRONG = {
    "sign of x": lambda g, x, w, b: (-(g @ w.T), x.T @ g, g.sum(0)),
    "sign of weight": lambda g, x, w, b: (g @ w.T, -(x.T @ g), g.sum(0)),
    "sign of bias": lambda g, x, w, b: (g @ w.T, x.T @ g, -g.sum(0)),
    "half": lambda g, x, w, b: (g @ w.T, x.T @ g / 2, g.sum(0)),
    "zero": lambda g, x, w, b: (g @ w.T, torch.zeros_like(w), g.sum(0)),
    "mean for sum": lambda g, x, w, b: (g @ w.T, x.T @ g, g.mean(0)),
    "no reduction of the upstream gradient": lambda g, x, w, b: (torch.ones_like(g) @ w.T, x.T @ g, g.sum(0)),
    "uniform upstream gradient": lambda g, x, w, b: (g @ w.T, x.T @ g.mean().expand_as(g), g.sum(0)),
    "a tenth of a percent": lambda g, x, w, b: (g @ w.T, x.T @ g * 1.001, g.sum(0)),
    "one entry": lambda g, x, w, b: (g @ w.T, (x.T @ g).index_fill(0, torch.tensor([12]), 0.0), g.sum(0)),
}
SPOILT = {
    "sign of x": "x", "sign of bias": "bias", "mean for sum": "bias", "no reduction of the upstream gradient": "x",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_gradient_is_found_and_named(name: str, dtype: str) -> None:
    if (name, dtype) == ("a tenth of a percent", "bfloat16"):
        return  # below what bfloat16 can tell: its spacing is 0.8 %; float32 runs always
    wrong = [c for c in _values(_function(WRONG[name]), dtype) if c.result == "wrong"]
    assert [c.tensor for c in wrong] == [f"gradient of {SPOILT.get(name, 'weight')}"]
    assert all(c.error is not None and c.bound is not None and c.error > c.bound for c in wrong)


@pytest.mark.parametrize("name", WRONG)
def test_gradcheck_finds_it_too(name: str) -> None:
    dims = {"B": 3, "I": 13, "O": 2}
    found = look(_subject(_function(WRONG[name])), "gradcheck", wrapping.gradcheck, dims, "float64", 0)
    assert (found.check, found.result) == ("gradcheck", "wrong")
    assert found.detail


def test_a_wrong_output_is_found_and_named() -> None:
    strategy = _function(lambda g, x, w, b: (g @ w.T, x.T @ g, g.sum(0)), lambda b, x, w: torch.addmm(b, x, w) * 1.01)
    results = {c.tensor: c.result for c in _values(strategy)}
    assert results["output"] == "wrong"
    assert results["gradient of x"] == "ok"


class _Once(torch.autograd.Function):
    """x W + b, whose gradients have none of their own."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        ctx.save_for_backward(x, weight)
        return torch.addmm(bias, x, weight)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, weight = (t.detach() for t in ctx.saved_tensors)
        return g @ weight.T, x.T @ g, g.sum(0)


@pytest.mark.parametrize("only", [0, 1])
def test_what_is_wrong_with_one_value_of_an_option_only_is_found(only: int) -> None:
    def forward(x: Any, weight: Any, bias: Any, gelu: int) -> Any:
        z = (_Once.apply if gelu == only else torch.addmm)(*((x, weight, bias) if gelu == only else (bias, x, weight)))
        return torch.nn.functional.gelu(z) if gelu else z

    strategy = Strategy(forward)
    local, yardstick = Local(affine.layer, strategy), Yardstick(autograd.strategy)
    subject = Subject("affine", affine.layer, "tested", claims_of(strategy), local, yardstick, "cpu")
    asked = [s for s in stages(subject, 0, "quick") if s.check in ("values", "double_backward")]
    wrong = {(s.check, s.dims.split(",")[-1]) for s in asked for c in s.run() if c.result == "wrong"}
    assert wrong == {("double_backward", f"gelu={only}")}
    small = {s.dims for s in asked if s.dtype == "float64" and s.dims.startswith("B=7,")}
    assert small == {"B=7,I=13,O=5,gelu=1", "B=7,I=13,O=5,gelu=0"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_right_code_raises_no_alarm(seed: int, dtype: str) -> None:
    assert [c.result for c in _values(by_hand, dtype, 100 * seed)] == ["ok"] * 4


@pytest.mark.parametrize(
    ("forward", "detail"),
    [
        (lambda x, weight, bias: (x @ weight + bias)[:-1], "shape is (6, 5), not (7, 5)"),
        (lambda x, weight, bias: (x @ weight + bias).double(), "dtype is torch.float64, not torch.float32"),
    ],
)
def test_a_tensor_of_the_wrong_kind_is_named(forward: Any, detail: str) -> None:
    (found,) = _values(Strategy(lambda x, weight, bias: forward(x, weight, bias)))
    assert (found.tensor, found.result, found.detail) == ("output", "wrong", detail)


@pytest.mark.parametrize(
    ("forward", "tensor", "detail"),
    [
        (
            lambda x, weight, bias: x @ weight.detach() + bias,
            "gradient of weight", "no gradient reached weight",
        ),
        (
            torch.no_grad()(lambda x, weight, bias: x @ weight + bias),
            "gradient of any operand", "no gradient reached any operand: the output is cut off the tape",
        ),
    ],
)  # fmt: skip
def test_a_gradient_that_is_missing_is_named(forward: Any, tensor: str, detail: str) -> None:
    (found,) = _values(Strategy(lambda x, weight, bias: forward(x, weight, bias)))
    assert (found.tensor, found.result, found.detail) == (tensor, "wrong", detail)


class _Affine(torch.nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(O))
        self.weight = torch.nn.Parameter(torch.zeros(I, O))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class _Unregistered(torch.nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.weight, self.bias = torch.zeros(I, O), torch.zeros(O)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


@pytest.mark.parametrize("gradients", ["tape", "func"])
def test_a_module_whose_parameters_come_in_another_order_is_right(gradients: Any) -> None:
    assert [c.result for c in _values(Strategy(_Affine, gradients=gradients))] == ["ok"] * 4


def test_a_module_without_registered_parameters_is_refused() -> None:
    with pytest.raises(
        StrategyError, match="_Unregistered has the parameters none, and the layer has weight, bias"
    ) as error:
        _values(Strategy(_Unregistered))
    assert error.value.status == "runtime_error"


def test_what_a_strategy_raises_has_a_status_and_one_line() -> None:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        raise MemoryError("none left\nand more of it")

    with pytest.raises(StrategyError, match=r"^MemoryError: none left$") as error:
        _values(Strategy(forward))
    assert error.value.status == "oom"


@pytest.mark.parametrize("error", [ValueError, NotImplementedError])
def test_a_clean_error_is_limited_where_a_question_is_optional(error: type[Exception]) -> None:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        raise error("not in this house")

    question = replace(VALUES, optional=True)
    (found,) = compare(_subject(Strategy(forward)), question, DIMS, "float32", 0)
    assert (found.result, found.detail) == ("limited", f"{error.__name__}: not in this house")


def test_no_memory_is_never_merely_limited() -> None:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        raise MemoryError

    with pytest.raises(StrategyError):
        compare(_subject(Strategy(forward)), replace(VALUES, optional=True), DIMS, "float32", 0)


def test_an_answer_without_a_tensor_is_wrong() -> None:
    def forgetful(strategy: Any, dims: Any, values: Any) -> Any:
        return {"output": values[0].cotangent}

    question = Question("values", forgetful, probes.gradients)
    (found,) = compare(_subject(by_hand), question, DIMS, "float32", 0)
    assert (found.tensor, found.result) == ("gradient of x", "wrong")
    assert "missing from the answer" in found.detail


def test_values_that_the_reference_cannot_be_asked_say_so_and_blame_nobody() -> None:
    huge = replace(VALUES, arrange=lambda v: replace(v, inputs={"x": v.inputs["x"] * 1e38}))
    (found,) = compare(_subject(by_hand), huge, DIMS, "float32", 0)
    assert found.result == "not_run"
    assert "the reference or the oracle is not finite" in found.detail


@pytest.mark.parametrize(("draws", "seed"), [(8, 8), (1, 9)])
def test_what_is_a_little_beyond_its_bound_is_drawn_again_and_that_is_final(draws: int, seed: int) -> None:
    def tilted(x: Any, weight: Any, bias: Any) -> Any:
        return (x @ weight + bias) * (1 + 1.5e-6)

    found = {c.tensor: c for c in compare(_subject(Strategy(tilted)), VALUES, DIMS, "float32", 0, draws)}
    assert found["output"].draws == 64
    assert found["output"].seed == seed
    assert found["output"].result == "wrong"


@pytest.mark.parametrize("arrange", [*arranging.LAYOUTS, *arranging.COTANGENTS], ids=lambda a: a.__name__)
def test_right_code_takes_every_layout(arrange: Any) -> None:
    question = Question("layouts", probes.gradients, arrange=arrange)
    assert {c.result for c in compare(_subject(by_hand), question, DIMS, "float64", 0)} == {"ok"}


def test_bits_are_compared_with_nan_and_the_sign_of_zero() -> None:
    nan, zero = torch.tensor([math.nan, 1.0]), torch.tensor([0.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.double())
    assert same_bits(torch.ones(2, 3).T, torch.ones(3, 2))


def test_repeats_are_the_same_or_spread() -> None:
    found = determinism({"same": torch.ones(3, 2), "spread": torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])})
    assert found == {"same": (True, 0.0), "spread": (False, 5.0)}


def test_repeats_of_scalars_empty_tensors_and_whole_numbers_are_compared_too() -> None:
    found = determinism({"scalar": torch.tensor([1.0, 3.0]), "none": torch.ones(3, 0), "whole": torch.tensor([1, 4])})
    assert found == {"scalar": (False, 2.0), "none": (True, 0.0), "whole": (False, 3.0)}


def test_a_sparse_gradient_is_refused_and_does_not_reach_the_judge() -> None:
    strategy = _function(lambda g, x, w, b: (g @ w.T, (x.T @ g).to_sparse(), g.sum(0)))
    local = Local(layer, strategy)
    with pytest.raises(WrongAnswerError, match="layout is sparse_coo: give a dense tensor"):
        local.ask(_sparse, DIMS, [_subject(strategy).draw(DIMS, "float32", 0)])


def _sparse(strategy: Strategy, dims: Any, values: Any) -> Any:
    return {"gradient of weight": torch.ones(2, 2).to_sparse()}


def test_what_was_written_over_is_named() -> None:
    def forward(x: Any, weight: Any, bias: Any) -> Any:
        y = x @ weight + bias
        weight.data[0, 0] += 1
        return y

    results = {c.tensor: c.result for c in check_untouched(_subject(Strategy(forward)), DIMS, "float64", 0)}
    assert results == {"x": "ok", "weight": "wrong", "bias": "ok", "cotangent": "ok"}


def test_a_wrong_answer_is_never_laid_at_pytorch_s_door_without_a_compiler() -> None:
    half = _function(WRONG["half"])
    question = Question("double_backward", probes.gradients)
    found = compare(_subject(half), question, DIMS, "float64", 0)
    assert {c.upstream for c in upstream.attribute(_subject(half), question, DIMS, "float64", found)} == {""}


def test_a_defect_of_pytorch_does_not_excuse_another_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an answer that the defect explains is laid at its door, and only of a strategy that does compile."""
    question = Question(
        "double_backward", derivatives.second_order, options={"live": False}, truth_options={"live": False}
    )
    for factor, graphs, excused in ((1.0, 1, True), (1.01, 1, False), (1.0, 0, False)):

        def drops(strategy: Any, dims: Any, values: Any, factor: float = factor, **options: Any) -> Any:
            return {n: t * factor for n, t in upstream.first_order(strategy, dims, values).items()}

        monkeypatch.setattr(upstream, "made_graphs", lambda *_, n=graphs: {"graphs": torch.tensor(n)})
        asked = replace(question, probe=drops, truth=derivatives.second_order)
        claims = replace(claims_of(by_hand), needs=("compiler",))
        subject = replace(_subject(by_hand), claims=claims)
        found = compare(subject, asked, DIMS, "float64", 0)
        named = {c.upstream for c in upstream.attribute(subject, asked, DIMS, "float64", found) if c.result == "wrong"}
        assert bool(named - {""}) == (excused and upstream.compile_drops_the_second_derivative())


def test_training_reaches_the_target_along_the_oracle_s_curve() -> None:
    found = check_training(_subject(by_hand), "float32", 0, starts=8)
    assert (found.result, found.verdict, found.detail) == ("ok", "equivalent", "")
    assert found.final_loss is not None
    assert found.final_loss <= layer.task.target_loss < layer.task.naive_loss
    assert found.losses[0] > found.losses[-1]


def test_training_that_strays_is_found() -> None:
    found = check_training(_subject(_function(WRONG["a tenth of a percent"])), "float32", 0, starts=2)
    assert found.result == "wrong"
    assert "as far from the oracle as allowed" in found.detail


def test_training_that_is_a_little_biased_in_half_precision_is_different() -> None:
    def biased(g: Any, x: Any, w: Any, b: Any) -> Any:
        return g @ w.T, x.T @ g * 0.9, g.sum(0) * 0.9

    found = check_training(_subject(_function(biased)), "bfloat16", 0, starts=8)
    assert (found.result, found.verdict) == ("wrong", "different")


def test_a_probe_that_finds_fault_by_itself_is_recorded() -> None:
    def picky(strategy: Any, dims: Any, values: Any) -> Any:
        raise WrongAnswerError("manners", "are bad")

    found = look(_subject(by_hand), "manners", picky, DIMS, "float32", 3)
    assert (found.tensor, found.result, found.detail, found.seed) == ("manners", "wrong", "are bad", 3)


def test_the_stated_naive_loss_is_the_data_s() -> None:
    (example,) = layer.task.examples()
    persistence = example.inputs["x"][:, -1:].expand_as(example.target)
    assert layer.task.loss(persistence, example.target).item() == pytest.approx(layer.task.naive_loss, abs=5e-5)


def test_no_gradient_is_asked_of_what_is_not_differentiable_and_it_stays_wide() -> None:
    inputs = {**sequence.layer.inputs, "t": replace(sequence.layer.inputs["t"], least="float32", differentiable=False)}
    timed = replace(sequence.layer, inputs=inputs)
    seen: list[torch.dtype] = []

    def forward(x: torch.Tensor, t: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        seen.append(t.dtype)
        y: torch.Tensor = sequence.reference.forward(x, t.detach(), rate)
        return y.to(x.dtype)

    strategy = Strategy(forward, dtypes=("bfloat16",))
    subject = Subject("timed", timed, "tested", claims_of(strategy), Local(timed, strategy), Yardstick(strategy), "cpu")
    found = compare(subject, VALUES, {"B": 2, "T": 7, "D": 3}, "bfloat16", 0)
    assert {c.tensor: c.result for c in found} == dict.fromkeys(("output", "gradient of x", "gradient of rate"), "ok")
    assert set(seen) == {torch.float32, torch.float64}


def test_an_unseen_update_reaches_the_weights_and_not_what_was_made_of_them() -> None:
    """With y = (x W + b)², a of the old parameters: dL/dx = 2 a g times the new Wᵀ, dL/dW = xᵀ times 2 a g."""

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        return (x @ weight + bias).square()

    old, new = (_subject(by_hand).draw(DIMS, "float64", seed) for seed in range(2))
    found = upstream.with_an_unseen_update(Strategy(forward), DIMS, [old, new])
    a = old.inputs["x"] @ old.parameters["weight"] + old.parameters["bias"]
    slope = 2 * a * old.cotangent
    torch.testing.assert_close(found["output"], a.square())
    torch.testing.assert_close(found["gradient of x"], slope @ new.parameters["weight"].T)
    torch.testing.assert_close(found["gradient of weight"], old.inputs["x"].T @ slope)
    torch.testing.assert_close(found["gradient of bias"], slope.sum(0))
