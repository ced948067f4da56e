"""Shares of the roof and the regimes of a GPU, on records that are made up."""

from pathlib import Path

import numpy as np
import pytest

from harness.analyse.device import regimes, roofs
from harness.analyse.frames import timing
from harness.records.meter import Roof
from harness.records.schema import Group, Work
from tests.analyse.made_up import CUDA, GROUP, about, header, run_of, samples, strategy, write

ROOFS = [
    Roof("cpu", 1, "copy", "", 2**16, 100e9),
    Roof("cpu", 1, "copy", "", 2**28, 10e9),
    Roof("cpu", 1, "product", "float32", 0, 100e9),
    Roof("cpu", 2, "product", "float32", 0, 900e9),
]


@pytest.mark.parametrize(
    ("flops", "size", "floor", "bound"),
    [
        (10**3, 2**28, 2**28 / 10e9, "memory"),  # from main memory
        (10**3, 2**16, 2**16 / 100e9, "memory"),  # from a cache
        (10**9, 2**16, 10**9 / 100e9, "compute"),
    ],
)
def test_a_share_is_that_of_the_nearer_roof(tmp_path: Path, flops: int, size: int, floor: float, bound: str) -> None:
    rng = np.random.default_rng(0)
    items = [strategy("autograd"), *ROOFS, Work(GROUP, "forward", flops, size)]
    items += [samples("autograd", launch, about(2 * floor, 0), rng) for launch in range(1, 6)]
    run = write(tmp_path, *items)
    (row,) = roofs(run, timing(run)).to_dict("records")
    assert row["floor"] == pytest.approx(floor)
    assert row["share"] == pytest.approx(0.5)
    assert row["bound"] == bound


def test_a_pass_without_known_work_has_no_share(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"autograd": 1e-3})
    assert roofs(run, timing(run)).empty


def test_regimes_stand_beside_each_other_and_a_wait_for_launches_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = {"wall": 40e-6, "device_cold": 12e-6, "device_hot": 10e-6}
    items = [strategy("autograd")]
    items += [
        samples("autograd", launch, about(t, 0), rng, group=CUDA, regime=regime)
        for launch in range(1, 6)
        for regime, t in times.items()
    ]
    run = write(tmp_path, *items, head=header(CUDA))
    (row,) = regimes(run, timing(run)).to_dict("records")
    assert timing(run)["flags"].tolist() == ["dispatch_bound"]
    assert {name: row[name] for name in times} == pytest.approx(times)
    assert row["dispatch_bound"]


def test_a_cpu_has_one_regime(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"autograd": 1e-3})
    assert regimes(run, timing(run)).empty
    assert Group(**vars(GROUP)) == GROUP
