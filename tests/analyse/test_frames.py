"""Frames from records that are made up: looks, flags, and what a second look is for."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.analyse.frames import timing, undecided
from harness.records.schema import Rounds
from tests.analyse.made_up import GROUP, about, header, run_of, samples, strategy, write


def test_a_second_look_is_paid_for_by_wider_intervals(tmp_path: Path) -> None:
    times = {"autograd": 1e-3, "other": 9e-4}
    one, two = (timing(run_of(tmp_path / str(n), times, head=header(looks=n))) for n in (1, 2))
    widths = [frame["ratio_high"].iloc[1] - frame["ratio_low"].iloc[1] for frame in (one, two)]
    assert widths[1] > 1.1 * widths[0]


def test_what_is_inconclusive_is_looked_at_again_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [strategy("autograd"), strategy("other")]
    for launch in range(1, 9):
        wild = float(rng.normal(0, 0.1))
        for passed, seconds in (("forward", 2e-3), ("step", 1e-3 * np.exp(wild))):
            items += [samples("autograd", launch, about(1e-3), rng, again, passed=passed) for again in (False, True)]
            items.append(samples("other", launch, about(float(seconds)), rng, passed=passed))
    assert undecided(write(tmp_path, *items, head=header(passes=("forward", "step")))) == [(GROUP, "step")]


def test_too_few_launches_are_not_looked_at_again(tmp_path: Path) -> None:
    assert undecided(run_of(tmp_path, {"autograd": 1e-3, "other": 1e-3}, launches=4)) == []


@pytest.mark.parametrize(("pressure", "flagged"), [(0.0, False), (0.5, True)])
def test_pressure_on_the_machine_is_flagged(tmp_path: Path, pressure: float, flagged: bool) -> None:
    rng = np.random.default_rng(0)
    items = [strategy("autograd"), *(samples("autograd", launch, about(1e-3), rng) for launch in range(1, 6))]
    items += [Rounds(GROUP, "forward", launch, "wall", 0, {"pressure": [pressure] * 11}) for launch in range(1, 6)]
    assert ("pressure" in timing(write(tmp_path, *items))["flags"].iloc[0]) == flagged


def test_samples_that_lost_the_processor_are_flagged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [strategy("autograd")]
    items += [samples("autograd", n, about(1e-3), rng, cpu_seconds=[0.0] * 11) for n in range(1, 6)]
    assert "noisy" in timing(write(tmp_path, *items))["flags"].iloc[0]


@pytest.mark.parametrize(("share", "flagged"), [(1.0, False), (1.05, False), (1.3, True)])
def test_calls_whose_mean_is_far_from_what_is_compared_are_flagged(tmp_path: Path, share: float, flagged: bool) -> None:
    rng = np.random.default_rng(0)
    items = [strategy("autograd")]
    for launch in range(1, 6):
        one = samples("autograd", launch, about(1e-3), rng)
        items.append(dataclasses.replace(one, call_seconds=[s / one.calls / share for s in one.seconds]))
    row = timing(write(tmp_path, *items)).iloc[0]
    assert ("uneven" in row["flags"]) == flagged
    assert row["latency"] == pytest.approx(1e-3 / share, rel=0.05)  # what is compared is what is shown
