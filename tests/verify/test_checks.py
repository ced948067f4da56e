"""What the gate catches, on the affine layer: each case is a small wrong strategy; and what it lets through."""

from typing import Any

import pytest
import torch

from harness import Strategy
from harness.verify.checks import Subject, WrongAnswerError, check_gradients, check_values, run
from harness.verify.training import check_training
from implementations.affine import layer
from implementations.affine.autograd import strategy as reference
from implementations.affine.function import strategy as by_hand

DIMS = {"B": 7, "I": 13, "O": 5}


def _subject(strategy: Strategy) -> Subject:
    return Subject("affine", layer, "tested", strategy, reference, "cpu")


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


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_gradient_is_found(name: str, dtype: str) -> None:
    if (name, dtype) == ("a tenth of a percent", "bfloat16"):
        return  # below what bfloat16 can tell: its spacing is 0.8 %; float32 runs always
    results = check_values(_subject(_function(WRONG[name])), DIMS, dtype, 0)
    wrong = [c for c in results if c.result == "wrong"]
    assert wrong
    assert all(c.error is not None and c.bound is not None for c in wrong)


@pytest.mark.parametrize("name", WRONG)
def test_gradcheck_finds_it_too(name: str) -> None:
    assert check_gradients(_subject(_function(WRONG[name])), {"B": 3, "I": 13, "O": 2}, 0).result == "wrong"


def test_a_wrong_output_is_found_and_named() -> None:
    strategy = _function(lambda g, x, w, b: (g @ w.T, x.T @ g, g.sum(0)), lambda b, x, w: torch.addmm(b, x, w) * 1.01)
    results = {c.tensor: c.result for c in check_values(_subject(strategy), DIMS, "float32", 0)}
    assert results["output"] == "wrong"
    assert results["gradient of x"] == "ok"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_right_code_raises_no_alarm(seed: int, dtype: str) -> None:
    results = check_values(_subject(by_hand), DIMS, dtype, 100 * seed)
    assert [c.result for c in results] == ["ok"] * 4


@pytest.mark.parametrize(
    ("forward", "tensor", "detail"),
    [
        (lambda x, weight, bias: (x @ weight + bias)[:-1], "output", "shape is"),
        (lambda x, weight, bias: (x @ weight + bias).double(), "output", "dtype is torch.float64"),
    ],
)
def test_a_tensor_of_the_wrong_kind_is_named(forward: Any, tensor: str, detail: str) -> None:
    from harness.layers.drawing import draw

    strategy = Strategy(lambda x, weight, bias: forward(x, weight, bias))
    values = draw(layer, DIMS, torch.float32, "cpu", 0)
    if detail.startswith("shape"):
        with pytest.raises(RuntimeError, match=r"size of tensor|shape|Mismatch"):
            run(strategy, layer, DIMS, values)
        return
    with pytest.raises(WrongAnswerError, match=detail) as error:
        run(strategy, layer, DIMS, values)
    assert error.value.tensor == tensor


def test_an_operand_without_gradient_is_named() -> None:
    strategy = Strategy(lambda x, weight, bias: x @ weight.detach() + bias)
    with pytest.raises(RuntimeError, match="no gradient reached weight"):
        check_values(_subject(strategy), DIMS, "float32", 0)


def test_no_grad_around_the_forward_is_named() -> None:
    strategy = Strategy(torch.no_grad()(lambda x, weight, bias: x @ weight + bias))
    with pytest.raises(RuntimeError, match="the output is cut off the tape"):
        check_values(_subject(strategy), DIMS, "float32", 0)


def test_a_module_whose_parameters_come_in_another_order_is_right() -> None:
    class Affine(torch.nn.Module):
        def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(O))
            self.weight = torch.nn.Parameter(torch.zeros(I, O))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.bias

    for gradients in ("tape", "func"):
        results = check_values(_subject(Strategy(Affine, gradients=gradients)), DIMS, "float32", 0)  # type: ignore[arg-type]
        assert [c.result for c in results] == ["ok"] * 4


def test_a_module_without_registered_parameters_is_refused() -> None:
    class Affine(torch.nn.Module):
        def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
            super().__init__()
            self.weight, self.bias = torch.zeros(I, O), torch.zeros(O)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.bias

    with pytest.raises(RuntimeError, match="Unexpected key"):
        check_values(_subject(Strategy(Affine)), DIMS, "float32", 0)


def test_training_reaches_the_target_along_the_oracles_curve() -> None:
    found = check_training(_subject(by_hand), "float32", 0, starts=8)
    assert found.result == "ok"
    assert found.final_loss is not None
    assert found.final_loss <= layer.task.target_loss < layer.task.naive_loss
    assert found.losses[0] > found.losses[-1]


def test_training_that_strays_is_found() -> None:
    strategy = _function(lambda g, x, w, b: (g @ w.T, x.T @ g * 1.001, g.sum(0)))
    found = check_training(_subject(strategy), "float32", 0, starts=2)
    assert found.result == "wrong"
    assert "as far from the oracle as allowed" in found.detail


def test_the_stated_naive_loss_is_the_data_s() -> None:
    (example,) = layer.task.examples()
    persistence = example.inputs["x"][:, -1:].expand_as(example.target)
    assert layer.task.loss(persistence, example.target).item() == pytest.approx(layer.task.naive_loss, abs=5e-5)
