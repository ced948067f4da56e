"""Samples by launch: what each arm took, paired with the others', and what disturbed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from harness.analyse.statistics import interval
from harness.records.modes import MODES, OLDER_MODES
from harness.records.store import Record, Run

GROUP = ["layer", "dims", "dtype", "device", "threads"]
CASE = [*GROUP, "pass", "strategy"]

NOISY_SHARE = 0.25
"""A case is noisy when more than this share of its samples was preempted or lost the processor."""

UNEVEN = 1.1
"""Calls are uneven when their mean is more than this many times their interquartile mean, which is what is compared."""

DERIVED, DIFFERENCE = "derived", "no time: forward + backward less forward"
"""Flag of a time that is a difference of two passes; how a sentence begins on one that is lost."""


REMEMBERED, FROM_MEMORY = 1.25, "answered_from_memory"
"""A call that reads what its strategy has not read before takes more than so many times as long as the others."""

PRESSED = 0.05
"""A round is under pressure when something waited for a processor for more than this share of its time."""


@dataclass(frozen=True)
class LaunchSamples:
    """One arm in one launch: seconds a call for each round, and what disturbed them."""

    seconds: np.ndarray[Any, np.dtype[np.float64]]
    flags: frozenset[str]
    digest: str = ""

    @property
    def median(self) -> float:
        """Seconds a call."""
        return float(median(self.seconds.tolist()))


Launches = dict[int, LaunchSamples]
Arms = dict[tuple[Any, ...], dict[tuple[str, bool], Launches]]


def arms_of(records: Iterable[Record], regime: str) -> Arms:
    """Samples by (group, pass), then by (strategy, whether it is the second arm), then by launch."""
    arms: Arms = {}
    for r in records:
        if r.get("regime", "wall") != regime:
            continue
        key = (*(r[k] for k in GROUP), r["pass"])
        seconds = np.asarray(r["call_seconds"], dtype=float) if r.get("call_seconds") else _means(r)
        sample = LaunchSamples(seconds, frozenset(_flags(r)), r["digest"])
        arms.setdefault(key, {}).setdefault((r["strategy"], r["again"]), {})[r["launch"]] = sample
    return arms


def _means(r: Record) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(r["seconds"], dtype=float) / float(r["calls"])


def _flags(r: Record) -> Iterable[str]:
    if not r["steady"]:
        yield "no_steady_state"
    lost = np.asarray(r["cpu_seconds"]) < 0.9 * np.asarray(r["wall_seconds"]) if r["device"] == "cpu" else np.zeros(1)
    disturbed = (np.asarray(r["switches"]) > 0) | lost.astype(bool)
    if disturbed.mean() > NOISY_SHARE:
        yield "noisy"
    if r["device"] == "cpu" and max(r["faults"]) - min(r["faults"]) > r["calls"]:
        yield "page_faults"
    if r.get("call_seconds") and np.median(_means(r) / np.asarray(r["call_seconds"], dtype=float)) > UNEVEN:
        yield "uneven"
    if r.get("new_contents") and np.median(r["new_contents"]) > REMEMBERED:
        yield FROM_MEMORY


def pressure_of(records: Iterable[Record]) -> dict[tuple[Any, ...], float]:
    """By group and pass: the share of rounds in which something waited for a processor a twentieth of the time."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for r in records:
        found.setdefault((*(r[k] for k in GROUP), r["pass"]), []).extend(r["readings"].get("pressure", []))
    return {key: float(np.mean(np.asarray(shares) > PRESSED)) for key, shares in found.items() if shares}


def derived(arms: Arms, key: tuple[Any, ...], passed: str) -> dict[tuple[str, bool], Launches]:
    """A CUDA backward, which cannot be timed by itself: forward_backward − forward, launch by launch.

    Only of arms whose difference is told from 0 (see ``untold``), and of those every launch: to leave out the launches
    in which it came out below 0 would move the mean and hide the spread. Rounds are not paired across the two passes,
    which are timed one after the other.
    """
    every, lost = _subtracted(arms, key, passed), untold(arms, key, passed)
    return {arm: own for arm, own in every.items() if arm[0] not in lost}


def untold(arms: Arms, key: tuple[Any, ...], passed: str) -> dict[str, str]:
    """Why a derived time has no logarithm, and so no ratio, by strategy; the baseline's second arm speaks for it too.

    A difference is told from 0 where it is above 0 in every launch and its 95 % interval (Student's t over launches)
    is; with too few launches for an interval the first must do. Ratios of what is told keep their coverage (simulated
    in the tests).
    """
    found: dict[str, str] = {}
    for (strategy, _), own in _subtracted(arms, key, passed).items():
        seconds = [sample.median for sample in own.values()]
        below = sum(s <= 0 for s in seconds)
        around = interval(seconds, 1)
        if below:
            found[strategy] = f"{DIFFERENCE} is not above 0 in {below} of {len(seconds)} launches"
        elif around.known and around.low <= 0:
            low, high = 1e6 * around.low, 1e6 * around.high
            found.setdefault(strategy, f"{DIFFERENCE} is not told from 0: {low:.3g} to {high:.3g} µs")
    return found


def _subtracted(arms: Arms, key: tuple[Any, ...], passed: str) -> dict[tuple[str, bool], Launches]:
    if passed != "backward":
        return {}
    forward, both = arms.get((*key, "forward"), {}), arms.get((*key, "forward_backward"), {})
    return {
        arm: {
            launch: LaunchSamples(
                np.array([both[arm][launch].median - forward[arm][launch].median]),
                forward[arm][launch].flags | both[arm][launch].flags | {DERIVED},
            )
            for launch in sorted(forward[arm].keys() & both[arm].keys())
        }
        for arm in forward
        if forward[arm].keys() & both.get(arm, {}).keys()
    }


def differences(own: Launches, base: Launches) -> dict[int, float]:
    """Log-ratio of times in each launch that both were in, paired by round.

    A launch where the numbers of rounds differ (derived passes) is paired by median.
    """
    found = {}
    for launch in sorted(own.keys() & base.keys()):
        t, b = own[launch].seconds, base[launch].seconds
        paired = len(t) == len(b)
        found[launch] = median(np.log(t / b).tolist()) if paired else float(np.log(np.median(t) / np.median(b)))
    return found


def planned(run: Run) -> list[tuple[Any, ...]]:
    """Every group × pass that the run set out to measure: the group's fields, and the pass.

    A group lists its own passes; in earlier records all passes are all groups'.
    """
    header = run.of("run")[0]
    found = (
        (*(group[k] for k in GROUP), passed)
        for group in header.get("groups", [])
        for passed in group.get("passes", header["passes"])
    )
    return list(dict.fromkeys(found))


def baseline_of(run: Run, layer: str) -> tuple[str, str]:
    """The baseline of a layer's ratios: its name and the digest of its source, empty where that is not on record."""
    header = run.of("run")[0]
    name = str(header["baselines"].get(layer, ""))
    return name, header.get("digests", {}).get(f"{layer}/{name}", "")


def definition(run: Run, layer: str, passed: str) -> str:
    """The definition of a pass in a run; a first layer's step leaves the gradients of the inputs out."""
    words = run.of("run")[0].get("modes", {}).get(passed) or (MODES | OLDER_MODES)[passed]
    first = passed == "step" and any(r["layer"] == layer and r.get("first_layer") for r in run.of("layer"))
    return f"{words}; the inputs are data" if first else words


def launches_of(run: Run) -> Arms:
    """What was measured, and what is derived: by (group, pass), then by (strategy, whether it is the second arm)."""
    arms = arms_of(run.of("samples"), "wall")
    return {key: arms.get(key, {}) or derived(arms, key[:-1], key[-1]) for key in planned(run)}


def seconds_by_case(measured: Arms) -> dict[tuple[Any, ...], list[float]]:
    """By case: seconds a call, of each round of each launch, as they were timed; takes ``launches_of(run)``."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for key, arms in measured.items():
        for (strategy, again), own in arms.items():
            if not again:
                found[*key, strategy] = [float(s) for _, one in sorted(own.items()) for s in one.seconds]
    return found


def log_ratios(run: Run) -> dict[tuple[Any, ...], dict[int, float]]:
    """By case, then by launch: the log-ratio to the baseline."""
    baselines: dict[str, str] = run.of("run")[0]["baselines"]
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    for key, arms in launches_of(run).items():
        base = arms.get((baselines[key[0]], False), {})
        for (strategy, again), own in arms.items():
            if not again:
                found[*key, strategy] = differences(own, base)
    return found
