"""Coverage and power of the intervals, at sizes that a test can afford; ``selftest`` runs them in full."""

import numpy as np
import pytest

from harness.analyse.simulation import coverage, normal_noise, power, recorded_noise


@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.05])
def test_one_comparison_is_covered_by_its_interval(ratio: float) -> None:
    assert 0.92 <= coverage(normal_noise(np.random.default_rng(0)), (ratio,), 1, 500) <= 0.98


@pytest.mark.parametrize("looks", [1, 2])
def test_six_strategies_are_covered_together_whatever_the_looks(looks: int) -> None:
    assert coverage(normal_noise(np.random.default_rng(1)), (0.95, 1.0, 1.05, 1.0, 0.95), looks, 300) >= 0.94


def test_an_interval_that_is_too_narrow_would_show() -> None:
    """Noise that comes in pairs of alike launches, which Student's t takes for independent."""
    rng = np.random.default_rng(2)
    assert coverage(lambda n: np.repeat(rng.normal(0, 0.01, n // 2), 2), (1.0,), 1, 500) < 0.9


def test_a_slow_down_is_found_more_often_the_larger_it_is_and_identical_code_never() -> None:
    noise = normal_noise(np.random.default_rng(3))
    assert power(noise, 1.0, 5, 200) == 0
    assert power(noise, 1.05, 5, 200) >= 0.9
    assert power(noise, 1.10, 5, 200) >= 0.99


def test_recorded_launches_are_drawn_from() -> None:
    drawn = recorded_noise(np.random.default_rng(4), [0.1, -0.1])(1000)
    assert set(drawn) == {0.1, -0.1}
