"""The proofs of the meter: that they hold where they must, and fail where they must; no timing is judged here."""

from statistics import median

import pytest

from harness.measure.passes import Call
from harness.run import other_meters, proofs
from harness.run.selftest import LEVELS, power


class Biased:
    """A clock by which every second call to be timed, that of the second arm, takes longer."""

    def __init__(self, factor: float) -> None:
        self._factor, self._first = factor, None

    def spans(self, call: Call, n: int) -> list[float]:
        if self._first is None:
            self._first = call
        return [1e6 * (1.0 if call is self._first else self._factor)] * n


@pytest.mark.parametrize(
    ("figure", "low", "high", "result"),
    [
        (0.5, 0.0, 1.0, "held"), (0.0, 0.0, 0.0, "held"), (-0.1, 0.0, 1.0, "failed"), (1.1, None, 1.0, "failed"),
        (0.9, 0.95, None, "failed"), (float("nan"), 0.0, 1.0, "failed"),
    ],
)  # fmt: skip
def test_a_figure_must_lie_in_its_range(figure: float, low: float | None, high: float | None, result: str) -> None:
    assert proofs.proof("p", "what", figure, low, high, "").result == result


def test_every_proof_of_a_level_exists_and_none_is_forgotten() -> None:
    assert {name for names in LEVELS.values() for name in names} == set(proofs.PROOFS)


def test_known_bytes_are_exact() -> None:
    found = list(proofs.known_bytes())
    assert len(found) == 8
    assert {(p.figure, p.result) for p in found} == {(0, "held")}


@pytest.mark.parametrize("factor", [1.0, 1.07])
def test_a_comparison_finds_what_the_clock_says(factor: float) -> None:
    found = proofs.identical(0.05, 0, Biased(factor))
    assert 2.718281828**found.log_ratio == pytest.approx(factor)


def test_position_is_counted_by_the_order_in_a_round() -> None:
    found = proofs.identical(0.05, 0, Biased(1.0))
    assert found.position == 0
    assert {t.order for s in found.series for t in s.samples} == {0, 1}
    assert median(s.calls for s in found.series) == 4


def test_coverage_holds_and_noise_that_is_too_large_has_no_power() -> None:
    assert {p.result for p in proofs.coverage()} == {"held"}

    def noise(launches: int) -> object:
        import numpy as np

        return np.random.default_rng().normal(0, 0.2, launches)

    assert {p.result for p in power(noise, "too noisy")} == {"failed"}  # type: ignore[arg-type]


def test_pytest_benchmark_times_each_arm_as_a_test_of_its_own() -> None:
    found = list(other_meters.by_pytest_benchmark(2, 0.02))
    assert [p.result for p in found] == ["shown"] * 3
    assert found[0].figure > 0
