"""The error rule: right code passes whatever the draw, wrong code does not, also where only one element is wrong."""

import pytest
import torch

from harness.verify.oracle import DRAWS, Pool


def _pool(dtype: torch.dtype, shape: tuple[int, ...], spoil: object = None, seed: int = 0, draws: int = DRAWS) -> Pool:
    """Products of random matrices in ``dtype``, the reference in another order of summation."""
    generator = torch.Generator().manual_seed(seed)
    pool = Pool(dtype)
    for _ in range(draws):
        a = torch.randn(shape[0], 200, generator=generator).to(dtype)
        b = torch.randn(200, shape[1], generator=generator).to(dtype)
        oracle = a.double() @ b.double()
        reference, out = a @ b, a.flip(1) @ b.flip(0)
        pool.add(spoil(out) if spoil else out, reference, oracle)  # type: ignore[operator]
    return pool


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(20))
def test_right_code_passes(dtype: torch.dtype, seed: int) -> None:
    assert _pool(dtype, (17, 33), seed=1000 * seed).ratio() <= 1


def _scaled(out: torch.Tensor) -> torch.Tensor:
    return out * 1.0001


def _one_zero(out: torch.Tensor) -> torch.Tensor:
    out = out.clone()
    out[-1, -1] = 0
    return out


def _last_row_shifted(out: torch.Tensor) -> torch.Tensor:
    out = out.clone()
    out[-1] = out[-1].roll(1)
    return out


def _one_nan(out: torch.Tensor) -> torch.Tensor:
    out = out.clone()
    out[0, 0] = float("nan")
    return out


@pytest.mark.parametrize("spoil", [_scaled, _one_zero, _last_row_shifted, _one_nan, torch.zeros_like, torch.neg])
def test_wrong_code_fails_in_float32(spoil: object) -> None:
    assert _pool(torch.float32, (64, 64), spoil).ratio() > 1


@pytest.mark.parametrize("spoil", [_one_zero, _last_row_shifted, _one_nan, torch.zeros_like, torch.neg])
def test_wrong_code_fails_in_bfloat16(spoil: object) -> None:
    assert _pool(torch.bfloat16, (64, 64), spoil).ratio() > 1


def test_one_wrong_element_in_a_million_is_found_and_named() -> None:
    pool = _pool(torch.bfloat16, (1000, 1000), _one_zero)
    assert pool.norm_ratio() <= 1
    worst, index = pool.worst_element()
    assert worst > 1
    assert index == 999_999


def test_an_exact_answer_has_ratio_zero_even_where_the_oracle_is_zero() -> None:
    pool = Pool(torch.float32)
    zero = torch.zeros(3)
    pool.add(zero, zero, zero.double())
    assert pool.ratio() == 0.0


def test_anything_but_zero_fails_where_reference_and_oracle_are_zero() -> None:
    pool = Pool(torch.float32)
    pool.add(torch.full((3,), 1e-30), torch.zeros(3), torch.zeros(3, dtype=torch.float64))
    assert pool.ratio() == float("inf")


def test_an_empty_tensor_passes() -> None:
    pool = Pool(torch.float32)
    pool.add(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.float64))
    assert pool.ratio() == 0.0


@pytest.mark.parametrize(("spoilt", "wrong"), [(1, False), (16, True), (64, True)])
def test_at_the_final_look_one_draw_is_no_repetition_and_several_are(spoilt: int, wrong: bool) -> None:
    generator, pool = torch.Generator().manual_seed(0), Pool(torch.float64)
    for draw in range(64):
        truth = torch.randn(140, generator=generator, dtype=torch.float64)
        out, reference = (truth + 1e-16 * torch.randn(140, generator=generator, dtype=torch.float64) for _ in range(2))
        out[36] += 3e-14 if draw < spoilt else 0.0
        pool.add(out, reference, truth)
    assert (pool.worst_element()[0] > 1) == wrong
