"""A time that is a difference of two passes: told from 0 or lost, never mended by leaving launches out."""

from pathlib import Path

import numpy as np
import pytest

from harness.analyse.contending import evidence
from harness.analyse.frames import timing, undecided
from harness.analyse.launches import Arms, LaunchSamples, derived, differences, log_ratios, untold
from harness.analyse.statistics import interval
from harness.records.store import Run
from tests.analyse.made_up import CUDA, about, header, samples, strategy, write

KEY = ("wave", "N=64,D=8", "float32", "cuda", 1)
FORWARD = 1e-3


def _run(folder: Path, backward: dict[str, list[float]], second: list[float] | None = None) -> Run:
    """A run on a GPU; ``backward`` are the seconds of each launch, ``second`` those of the baseline's second arm."""
    rng = np.random.default_rng(0)
    arms = [(name, False, times) for name, times in backward.items()]
    arms += [("autograd", True, second or backward["autograd"])]
    items = [strategy(name) for name in backward]
    for name, again, times in arms:
        for launch, t in enumerate(times, 1):
            for passed, seconds in (("forward", FORWARD), ("forward_backward", FORWARD + t)):
                items.append(samples(name, launch, about(seconds, 1e-5), rng, again, CUDA, passed))
    return write(folder, *items, head=header(CUDA, ("forward", "backward", "forward_backward")))


def _row(run: Run, name: str) -> dict[str, object]:
    frame = timing(run)
    (row,) = frame[(frame["pass"] == "backward") & (frame["strategy"] == name)].to_dict("records")
    return row


LONG = [1e-3, 1.01e-3, 0.99e-3, 1e-3, 1.02e-3, 0.98e-3]


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        ([1e-4, 2e-4, -1e-6, 1e-4, 1e-4, 2e-4], "is not above 0 in 1 of 6 launches"),
        ([1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 9e-4], "is not told from 0: -23"),
    ],
)
def test_what_is_not_told_from_0_has_no_ratio_and_says_so(tmp_path: Path, seconds: list[float], why: str) -> None:
    run = _run(tmp_path, {"autograd": LONG, "fast": seconds, "new": [t / 2 for t in LONG]})
    lost, kept = _row(run, "fast"), _row(run, "new")
    assert (lost["status"], lost["verdict"], lost["launches"]) == ("skipped", "", 0)
    assert why in str(lost["reason"])
    assert np.isnan(lost["ratio"])  # type: ignore[call-overload]
    assert (kept["verdict"], kept["ratio"]) == ("faster", pytest.approx(0.5, rel=0.01))
    assert set(evidence(run).contests[*KEY, "backward"].seconds) == {"autograd", "new"}
    assert (*KEY, "backward", "fast") not in log_ratios(run)


def test_a_baseline_whose_second_arm_is_lost_gives_no_ratio_to_anyone(tmp_path: Path) -> None:
    run = _run(tmp_path, {"autograd": LONG, "new": [t / 2 for t in LONG]}, second=[-1e-6, *LONG[1:]])
    assert _row(run, "autograd")["status"] == "skipped"
    assert _row(run, "new")["verdict"] == "no baseline"


def test_an_arm_whose_two_passes_share_no_launch_has_no_time() -> None:
    one = {1: LaunchSamples(np.array([1e-3]), frozenset())}
    arms: Arms = {(*KEY, "forward"): {("own", False): one}, (*KEY, "forward_backward"): {("own", False): {2: one[1]}}}
    assert derived(arms, KEY, "backward") == untold(arms, KEY, "backward") == {}


def test_a_second_look_at_a_derived_time_is_at_what_it_is_derived_from(tmp_path: Path) -> None:
    run = _run(tmp_path, {"autograd": LONG, "new": [1.2e-3, 0.9e-3, 1.1e-3, 1e-3, 0.8e-3, 1e-3]})
    assert undecided(run) == [(CUDA, "forward"), (CUDA, "forward_backward")]


@pytest.mark.parametrize("launches", [5, 12])
@pytest.mark.parametrize(("share", "ratio"), [(1.0, 1.0), (0.1, 0.5), (0.1, 2.0), (0.05, 0.5), (0.05, 1.0)])
def test_an_interval_of_derived_times_covers_the_truth(launches: int, share: float, ratio: float) -> None:
    """``share`` is the baseline's backward over its forward; each pass of each arm wanders by 1 % between launches."""
    rng = np.random.default_rng(0)
    covered = told = 0
    for _ in range(1_000):
        arms: Arms = {}
        for passed, own, base in (("forward", 0.7, 1.0), ("forward_backward", 0.7 + share * ratio, 1.0 + share)):
            both = {}
            for name, mean in (("own", own), ("base", base)):
                times = mean * np.exp(rng.normal(0, 0.01, launches))
                both[name, False] = {i: LaunchSamples(np.array([t]), frozenset()) for i, t in enumerate(times)}
            arms[*KEY, passed] = both
        found = derived(arms, KEY, "backward")
        if len(found) == 2:
            told += 1
            one = interval(list(differences(found["own", False], found["base", False]).values()), 1)
            covered += one.low <= np.log(ratio) <= one.high
    assert told > 300
    assert covered / told > 0.93
