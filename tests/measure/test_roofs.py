"""Roofs, by a clock that is made up: rates are work over the fastest sample, launches by the clock of whole calls."""

from dataclasses import dataclass

import pytest

from harness.measure import roofs as measured
from harness.measure.passes import Call
from harness.measure.roofs import roofs


@dataclass
class _Clock:
    """Says that each call takes so long, the first ones ten times as long."""

    each: float
    asked: int = 0

    def spans(self, call: Call, n: int) -> list[float]:
        self.asked += 1
        call.run(call.prepare())
        return [1e9 * n * self.each * (10 if self.asked < 4 else 1)]


def test_rates_are_of_the_fastest_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SECONDS", 0.002)
    monkeypatch.setitem(measured.FOOTPRINTS, "cpu", [2**10, 2**12])
    monkeypatch.setitem(measured.SIDES, "cpu", (4, 8))
    device, wall = _Clock(1e-3), _Clock(1e-6)
    launch, *copies, product = roofs("cpu", 1, ["float32"], device, wall)
    assert (launch.what, launch.per_second) == ("launch", pytest.approx(1e6))
    assert [(c.what, c.footprint, c.per_second) for c in copies] == [
        ("copy", 2**10, pytest.approx(2**10 / 1e-6)),  # by whichever clock says that it is faster
        ("copy", 2**12, pytest.approx(2**12 / 1e-6)),
    ]
    assert (product.what, product.dtype, product.per_second) == ("product", "float32", pytest.approx(2 * 8**3 / 1e-3))
