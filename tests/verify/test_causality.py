"""Leaks of a thousandth are found wherever they are; the rounding of an FFT is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Layer, Operand, Strategy
from harness.records.schema import Check
from harness.verify.asking import Local, claims_of
from harness.verify.causality import causality, cuts_of
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick

LEAK = 1e-3
Forward = Callable[[Tensor, Tensor], Tensor]


def _direct(x: Tensor, k: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (x.shape[-1] - 1, 0)), k.flip(-1)[:, None], groups=x.shape[1])


def _by_fft(x: Tensor, k: Tensor) -> Tensor:
    n = 2 * x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x, n=n) * torch.fft.rfft(k, n=n), n=n)[..., : x.shape[-1]]


def _at(step: int) -> Forward:
    """One output sees a little of the next input."""

    def forward(x: Tensor, k: Tensor) -> Tensor:
        here = torch.zeros_like(x)
        here[..., step] = LEAK
        return _direct(x, k) + here * x.roll(-1, -1)

    return forward


def _less_the_mean(x: Tensor, k: Tensor) -> Tensor:
    return _direct(x - LEAK * x.mean(-1, keepdim=True), k)


def _backward(change: Callable[[Tensor, Tensor], Tensor]) -> Forward:
    """A right forward, and a gradient of x that is changed as a function of the cotangent and x."""

    class Changed(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor, k: Tensor) -> Tensor:
            return _direct(x, k)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            x, k = (t.detach().requires_grad_() for t in ctx.saved_tensors)
            with torch.enable_grad():
                dx, dk = torch.autograd.grad(_direct(x, k), (x, k), g)
            return dx + LEAK * change(g, x.detach()), dk

    return lambda x, k: Changed.apply(x, k)


layer = Layer(
    inputs={"x": Operand(("B", "C", "L"))},
    parameters={"k": Operand(("C", "L"), lambda s, g: torch.randn(s, generator=g) / s[-1] ** 0.5)},
    output=("B", "C", "L"), causal="L", check=({"B": 2, "C": 3, "L": 17}, {"B": 1, "C": 2, "L": 64}),
)  # fmt: skip
SHORT, LONG = layer.check
LEAKS: dict[str, tuple[Forward, str]] = {
    "the last step": (_at(-2), "output"),
    "where a block of 16 begins": (_at(15), "output"),
    "a mean over time": (_less_the_mean, "output"),
    "gradients of later inputs": (_backward(lambda g, x: g.roll(1, -1)), "gradient of x"),
    "later inputs in earlier gradients": (_backward(lambda g, x: x.roll(-1, -1)), "gradient of x"),
}


def _asked(forward: Forward, dims: dict[str, int], seed: int = 0) -> dict[str, Check]:
    strategy = Strategy(forward)
    subject = Subject(
        "conv", layer, "one", claims_of(strategy), Local(layer, strategy), Yardstick(Strategy(_direct)), "cpu"
    )
    return {c.tensor: c for c in causality(subject, dims, "float32", seed)}


@pytest.mark.parametrize("dims", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_of_a_thousandth_is_wrong_wherever_it_is(leak: str, dims: dict[str, int]) -> None:
    forward, tensor = LEAKS[leak]
    found = _asked(forward, dims)[tensor]
    assert found.result == "wrong"
    assert found.error is not None
    assert found.bound is not None
    assert found.error > 10 * found.bound
    assert "comes after the first" in found.detail


@pytest.mark.parametrize("dims", [SHORT, LONG], ids=["short", "long"])
def test_rounding_that_reaches_back_is_right(dims: dict[str, int]) -> None:
    for seed in range(5):
        for check in _asked(_by_fft, dims, seed).values():
            assert check.result == "ok", check
            assert check.error is not None
            assert check.bound is not None
            assert check.error < 0.5 * check.bound
    assert any(check.error for check in _asked(_by_fft, dims).values()), "an FFT that rounds nothing shows nothing"


def test_right_code_keeps_every_bit() -> None:
    assert {c.error for c in _asked(_direct, SHORT).values()} == {0.0}


def test_cuts_meet_each_step_of_few_and_each_block_of_many() -> None:
    assert cuts_of(7, False) == [1, 2, 3, 4, 5, 6]
    assert {1, 8, 16, 64, 128} <= set(cuts_of(129, False))
    assert cuts_of(7, True) == [1, 3, 6]
    assert cuts_of(129, True) == [128]
    assert cuts_of(65, True) == [64]
    assert cuts_of(2, True) == [1]
