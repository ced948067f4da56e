"""An oracle that stays in float64 where its reference casts, and what it says where the cast is part of the formula."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness import Layer, Operand, Strategy
from harness.layers.drawing import draw
from harness.measure.draws import Draws
from harness.records.schema import Check
from harness.run.answers import TimedAnswers
from harness.verify import checks
from harness.verify.asking import Local, claims_of
from harness.verify.casts import oracle_answer
from harness.verify.checks import VALUES
from harness.verify.judging import Subject, compare
from harness.verify.reference import Yardstick
from harness.verify.soundness import refuse_unsound, unasked
from harness.verify.suite import stages

EPS = 1e-6
CONSTANT = torch.from_numpy(np.linspace(0.1, 1, 13, dtype=np.float32))


def norm(x: Tensor, w: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    return w * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def gemma(x: Tensor, w: Tensor) -> Tensor:
    y = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + EPS)
    return (y * (1 + w.float())).type_as(x)


def softmax(x: Tensor, w: Tensor) -> Tensor:
    return torch.softmax(x * w, -1, dtype=torch.float32).to(x.dtype)


def autocast_off(x: Tensor, w: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return F.layer_norm(x.float(), (13,), w.float()).to(x)


def summed(x: Tensor, w: Tensor) -> Tensor:
    return ((x * w).sum(-1, True, dtype=torch.float32) + (x * w).cumsum(-1, dtype=torch.float32)).to(x.dtype)


def accumulated(x: Tensor, w: Tensor) -> Tensor:
    total = torch.zeros(13, dtype=torch.float32)
    for row in x * w:
        total += row
    return total.to(x.dtype).expand_as(x)


def by_default(x: Tensor, w: Tensor) -> Tensor:
    return x * w * torch.linspace(0, 1, 13) * torch.tensor(0.1) * (torch.arange(13) / 7)


def literal(x: Tensor, w: Tensor) -> Tensor:
    return x * w * torch.tensor(0.1, dtype=torch.float32)


def with_numpy(x: Tensor, w: Tensor) -> Tensor:
    return (x.float() @ CONSTANT.diag()).to(x.dtype) * w


def recomputed(x: Tensor, w: Tensor) -> Tensor:
    return checkpoint(norm, x, w, use_reentrant=False)  # type: ignore[no-any-return]


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (x.float() * w.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w = ctx.saved_tensors
        return (g.float() * w.float()).to(x.dtype), (g.float() * x.float()).sum(0).to(w.dtype)


def by_hand(x: Tensor, w: Tensor) -> Tensor:
    return _ByHand.apply(x, w)  # type: ignore[no-any-return,no-untyped-call]


CASTING: list[Callable[[Tensor, Tensor], Tensor]] = [
    norm, gemma, softmax, autocast_off, summed, accumulated, by_default, literal, with_numpy, recomputed, by_hand,
]  # fmt: skip


def quantised(x: Tensor, w: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype) * w


def halved(x: Tensor, w: Tensor) -> Tensor:
    return (x.half() * w.half()).to(x.dtype)


def bits(x: Tensor, w: Tensor) -> Tensor:
    return x * w + (x.detach().float().view(torch.int32) & 1)


def far_angles(x: Tensor, w: Tensor) -> Tensor:
    inverse = 1.0 / 10000 ** (torch.arange(13).float() / 13)
    return x * (9000 * torch.arange(x.shape[0]).float()[:, None] * inverse).cos().to(x.dtype) * w


def rounded(x: Tensor, w: Tensor) -> Tensor:
    return (x + (x.round() - x).detach()) * w


def masked(x: Tensor, w: Tensor) -> Tensor:
    return x * (x > 0).float() * w


def _values() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in ((7, 13), (13,)))  # type: ignore[return-value]


def _asked(forward: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], dict[str, Tensor]]:
    def ask() -> dict[str, Tensor]:
        x, w = (t.clone().requires_grad_() for t in _values())
        y = forward(x, w)
        grad_x, grad_w = torch.autograd.grad(y, (x, w), torch.arange(91.0, dtype=y.dtype).view(7, 13).cos())
        return {"output": y.detach(), "gradient of x": grad_x, "gradient of w": grad_w}

    return ask


@pytest.mark.parametrize("forward", CASTING, ids=lambda f: f.__name__)
def test_casts_are_noted_and_cost_the_oracle_nothing(forward: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = oracle_answer(_asked(forward))
    assert found.casts
    assert found.written is not None
    assert not found.unasked
    assert all(t.dtype is torch.float64 for t in found.answer.values())
    off = [(found.written[n] - t).norm() / t.norm() for n, t in found.answer.items()]
    assert 1e-9 < max(off) < 1e-5


def test_the_place_of_a_cast_is_told() -> None:
    (cast,) = oracle_answer(_asked(norm)).casts
    assert str(cast) == f"float32 at test_casts.py:{norm.__code__.co_firstlineno + 1}"


def test_the_answer_without_casts_is_that_of_the_formula_in_float64() -> None:
    truth = _asked(lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)))()
    found = oracle_answer(_asked(norm)).answer
    assert all(torch.allclose(found[n], t, rtol=1e-13, atol=1e-13) for n, t in truth.items())


def test_transforms_are_run_without_casts_too() -> None:
    x, w = _values()

    def ask() -> dict[str, Tensor]:
        _, tangent = torch.func.jvp(norm, (x, w), (x.cos(), w))
        each = torch.func.vmap(torch.func.grad(lambda x, w: norm(x, w).sum(), (0, 1)), (0, None))(x, w)
        return {"tangent": tangent, "each": each[1], "jacobian": torch.func.jacrev(lambda w: norm(x, w))(w)}

    found = oracle_answer(ask)
    assert found.written is not None
    assert {t.dtype for t in found.answer.values()} == {torch.float64}
    assert all((found.written[n] - t).norm() > 1e-9 * t.norm() for n, t in found.answer.items())


@pytest.mark.parametrize("forward", [quantised, halved, bits, far_angles], ids=lambda f: f.__name__)
def test_a_cast_that_is_part_of_the_formula_stays(forward: Callable[[Tensor, Tensor], Tensor]) -> None:
    found, written = oracle_answer(_asked(forward)), _asked(forward)()
    assert "which is part of the formula" in found.unasked
    assert "test_casts.py:" in found.unasked
    assert all(torch.equal(found.answer[n], t) for n, t in written.items())


@pytest.mark.parametrize("forward", [rounded, masked], ids=lambda f: f.__name__)
def test_what_loses_nothing_is_no_cast(forward: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = oracle_answer(_asked(forward))
    assert (found.written, found.unasked) == (None, "")


def test_the_default_dtype_is_left_as_it_was() -> None:
    def broken() -> dict[str, Tensor]:
        assert torch.get_default_dtype() is torch.float64
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        oracle_answer(broken)
    assert torch.get_default_dtype() is torch.float32


def test_the_oracle_of_timed_answers_is_free_of_casts_too() -> None:
    dims = {"N": 7, "D": 13}
    normed = Layer(
        inputs={"x": Operand(("N", "D"))}, parameters={"w": Operand(("D",))}, output=("N", "D"), check=(dims,)
    )  # fmt: skip
    draws = Draws(normed, dims, draw(normed, dims, torch.float32, "cpu", 0), 0)
    values, truth = TimedAnswers(normed, Strategy(norm), dims, torch.float32, draws).other("forward", 1, 0)
    x, w = values.inputs["x"].double(), values.parameters["w"].double()
    assert torch.equal(truth.oracle[0], w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS)))
    assert torch.equal(truth.peers[0], norm(values.inputs["x"], values.parameters["w"]))


class FloatNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return norm(x, self.w)


LAYER = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"w": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 13}, {"N": 1, "D": 1}),
    leading="N",
)


def _subject(reference: Any, forward: Any) -> Subject:
    strategy = Strategy(forward)
    return Subject("l", LAYER, "s", claims_of(strategy), Local(LAYER, strategy), Yardstick(Strategy(reference)), "cpu")


def _found(reference: Any, forward: Any, dtype: str = "float64") -> set[str]:
    subject = _subject(reference, forward)
    return {c.result for c in compare(subject, VALUES, LAYER.check[0], dtype, 0)}


def library(x: Tensor, w: Tensor) -> Tensor:
    return F.rms_norm(x, w.shape, w, EPS)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("reference", [norm, FloatNorm])
def test_who_is_nearer_to_the_truth_than_the_reference_passes(reference: Any, dtype: str) -> None:
    assert _found(reference, library, dtype) == {"ok"}
    assert _found(reference, norm, dtype) == {"ok"}


def test_who_is_off_by_more_than_the_casts_is_refused() -> None:
    assert "wrong" in _found(norm, lambda x, w: F.rms_norm(x, w.shape, w * (1 + 2e-6), EPS))


def test_nothing_is_asked_in_float64_where_the_cast_is_part_of_the_formula() -> None:
    assert _found(quantised, quantised) == {"not_run"}
    assert _found(quantised, quantised, "float32") == {"ok"}
    assert "part of the formula" in unasked(LAYER, Strategy(quantised), "cpu", "float64")


def test_gradcheck_is_not_run_where_the_reference_narrows() -> None:
    (record,) = checks.gradcheck(_subject(norm, library), LAYER.check[0], 0)
    assert (record.result, record.dtype) == ("not_run", "float64")
    assert "computes in float32 at test_casts.py:" in record.detail
    (record,) = checks.gradcheck(_subject(library, library), LAYER.check[0], 0)
    assert record.result == "ok"


def test_dtypes_that_a_reference_refuses_are_found_by_trying() -> None:
    def picky(x: Tensor, w: Tensor) -> Tensor:
        if x.dtype is torch.bfloat16:
            raise RuntimeError("expected Float but found BFloat16")
        return x * w

    def narrowing(x: Tensor, w: Tensor) -> Tensor:
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32) * w

    words = "its reference takes no bfloat16: RuntimeError: expected Float but found BFloat16"
    assert unasked(LAYER, Strategy(picky), "cpu", "bfloat16") == words
    assert [unasked(LAYER, Strategy(picky), "cpu", d) for d in ("float64", "float32")] == ["", ""]
    assert unasked(LAYER, Strategy(narrowing), "cpu", "float64").startswith("its reference takes no float64")
    refuse_unsound(LAYER, Strategy(narrowing), "cpu")


def test_an_output_that_is_float32_whatever_it_is_given_is_not_asked_in_float64() -> None:
    forward = Strategy(lambda x, w: (x * w).float())
    assert unasked(LAYER, forward, "cpu", "float64") == "its reference's output is float32 whatever it is given"


def test_every_stage_passes_right_code_on_a_reference_that_casts() -> None:
    subject = _subject(norm, library)
    found: list[Any] = [r for stage in stages(subject, 0, "quick") for r in stage.run()]
    assert not [r for r in found if r.result == "wrong"]
    assert sum(isinstance(r, Check) and r.result == "ok" for r in found) > 100
