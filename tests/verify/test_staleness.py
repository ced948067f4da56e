"""What may be kept from call to call, and that a change is one that can be seen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Strategy
from harness.verify.asking import Local, claims_of
from harness.verify.controls import sequence
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.staleness import WAYS, _steps, stale
from tests.verify.variants.gate import Gate, forward, layer, reference

DIMS, LARGE = layer.check[0], layer.check[-1]
YARDSTICK = Yardstick(reference)


def _subject(strategy: Strategy) -> Subject:
    return Subject("gate", layer, "tested", claims_of(strategy), Local(layer, strategy), YARDSTICK, "cpu")


def _by_shape() -> Callable[..., Tensor]:
    scales: dict[Any, Tensor] = {}

    def run(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        key = (x.shape, x.dtype)
        if key not in scales:
            scales[key] = torch.ones(x.shape[-1], dtype=x.dtype)
        return forward(x, slope, shift) * scales[key]

    return run


def _by_content() -> Callable[..., Tensor]:
    """A weight that is packed anew whenever its content is another."""
    packs: list[Tensor] = []

    def run(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return forward(x, slope, shift)
        if not packs or packs[0].dtype != slope.dtype or not torch.equal(packs[0], slope):
            packs[:] = [slope.detach().clone()]
        return forward(x, packs[0], shift)

    return run


def _by_hand(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y: Tensor = Gate.apply(x, slope, shift)
    return y


@pytest.mark.parametrize("run", [_by_shape(), _by_content(), _by_hand])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_what_depends_on_no_values_or_on_all_may_be_kept(run: Callable[..., Tensor], dtype: str) -> None:
    subject = _subject(Strategy(lambda x, slope, shift: run(x, slope, shift)))
    for seed in range(3):
        for few in (False, True):
            assert [c.result for c in stale(subject, DIMS, dtype, seed, few, evaluate=True)] == ["ok"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_every_operand_changes_in_every_way(dtype: str) -> None:
    """In bfloat16 another draw of a small parameter may move the output by too little."""
    names = [*layer.operands, "cotangent"]
    pairs = [(name, way) for name in names for way in WAYS]
    steps = _steps(_subject(reference), DIMS, dtype, 0, pairs, 0)[1:]
    missing = set(pairs) - {(s.operand, s.way) for s in steps}
    assert len(missing) <= (1 if dtype == "bfloat16" else 0)


def test_single_elements_change_in_a_large_tensor() -> None:
    first, in_place, *_ = _steps(_subject(reference), LARGE, "float32", 0, [("x", WAYS[0])], 0)
    assert int((first.values.inputs["x"] != in_place.values.inputs["x"]).sum()) == 1


def test_an_exchange_keeps_the_sum() -> None:
    first, exchanged, *_ = _steps(_subject(reference), LARGE, "float32", 0, [("x", WAYS[2])], 0)
    one, other = first.values.inputs["x"], exchanged.values.inputs["x"]
    assert int((one != other).sum()) == 2
    assert torch.equal(one.sum(), other.sum())


def test_time_stamps_still_grow() -> None:
    strategy = sequence.reference
    subject = Subject(
        "decay",
        sequence.layer,
        "tested",
        claims_of(strategy),
        Local(sequence.layer, strategy),
        Yardstick(strategy),
        "cpu",
    )
    pairs = [("t", way) for way in WAYS]
    steps = _steps(subject, sequence.layer.check[0], "float32", 0, pairs, 0)
    assert len(steps) == 1 + len(pairs)
    assert all((s.values.inputs["t"].diff(dim=-1) > 0).all() for s in steps)
