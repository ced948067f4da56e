"""Samples by launch: what each arm took, paired with the others', and what disturbed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from harness.records.store import Record, Run

GROUP = ["layer", "dims", "dtype", "device", "threads"]
CASE = [*GROUP, "pass", "strategy"]

NOISY_SHARE = 0.25
"""A case is noisy when more than this share of its samples was preempted or lost the processor."""

UNEVEN = 1.1
"""Calls are uneven when their mean is more than this many times their interquartile mean, which is what is compared."""

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
    """A CUDA backward, which cannot be timed by itself: forward_backward − forward, launch by launch."""
    if passed != "backward":
        return {}
    forward, both = arms.get((*key, "forward"), {}), arms.get((*key, "forward_backward"), {})
    found: dict[tuple[str, bool], Launches] = {}
    for arm in forward.keys() & both.keys():
        for launch in forward[arm].keys() & both[arm].keys():
            seconds = both[arm][launch].median - forward[arm][launch].median
            flags = forward[arm][launch].flags | both[arm][launch].flags | {"derived"}
            if seconds > 0:
                found.setdefault(arm, {})[launch] = LaunchSamples(np.array([seconds]), flags)
    return found


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
