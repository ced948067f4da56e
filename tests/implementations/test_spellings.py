"""Plain spellings of one formula, all of them right: none is refused, in any dtype, whatever the seed."""

from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import Strategy
from harness.layers.discover import load, scan
from harness.verify.asking import Local, claims_of
from harness.verify.checks import VALUES
from harness.verify.judging import Subject, compare
from harness.verify.reference import Yardstick

ENTRIES = {(e.layer, e.strategy): e for e in scan(["implementations"])}
DTYPES = ("float64", "float32", "bfloat16", "float16")
EPS = 1e-6


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cast_once(x: Tensor, weight: Tensor) -> Tensor:
    wide = _wide(x)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS) * weight).to(x.dtype)


def cast_twice(x: Tensor, weight: Tensor) -> Tensor:
    scale = (_wide(x).square().mean(-1, keepdim=True) + EPS).rsqrt()
    return (_wide(x) * scale * weight).to(x.dtype)


def vector_norm(x: Tensor, weight: Tensor) -> Tensor:
    wide = _wide(x)
    square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.shape[-1]
    return (wide / (square + EPS).sqrt() * weight).to(x.dtype)


def weight_after(x: Tensor, weight: Tensor) -> Tensor:
    wide = _wide(x)
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


class Module(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        wide = _wide(x)
        return (wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + EPS)).type_as(x) * self.weight


SPELLINGS: dict[str, Any] = {f.__name__: f for f in (cast_once, cast_twice, vector_norm, weight_after, Module)}


@cache
def _yardstick() -> Yardstick:
    return Yardstick(load(ENTRIES["rms_norm", load(ENTRIES["rms_norm", None]).value.reference]).value)


def _results(forward: Any, dtype: str, seeds: range) -> Counter[str]:
    layer, strategy = load(ENTRIES["rms_norm", None]).value, Strategy(forward, dtypes=DTYPES)
    subject = Subject(
        "rms_norm", layer, "tested", claims_of(strategy), Local(layer, strategy), _yardstick(), "cpu"
    )  # fmt: skip
    found = [c for seed in seeds for dims in layer.check for c in compare(subject, VALUES, dims, dtype, 1000 * seed)]
    return Counter(c.result for c in found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_right_spelling_is_not_refused(name: str, dtype: str) -> None:
    found = _results(SPELLINGS[name], dtype, range(20))
    assert found.keys() <= {"ok", "ill_conditioned"}
    assert found["ok"] >= 160  # two sizes and two of three tensors of the third have digits in every dtype


def twice_the_gradient(x: Tensor, weight: Tensor) -> Tensor:
    y = cast_once(x, weight)
    return y + (y - y.detach())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_is_twice_what_it_should_be_is_refused(dtype: str) -> None:
    assert _results(twice_the_gradient, dtype, range(2))["wrong"] >= 8


if __name__ == "__main__":
    for each in SPELLINGS:
        print(f"| {each} |", " | ".join(str(dict(_results(SPELLINGS[each], d, range(20)))) for d in DTYPES), "|")
