"""Measured cases that get no verdict, and are not picked: each bears a flag whose words say why."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analyse.floors import floors
from harness.analyse.launches import FROM_MEMORY, GROUP
from harness.records.store import Run

NO_VERDICT = "no verdict"
MOST_OF_A_ROOF = 1.05
"""Share of a roof beyond which a time is impossible: that much is noise in the roof's own measurement."""

IMPOSSIBLE, BASELINE, UNSEEN = "impossible", "baseline_impossible", "a_stale_answer_would_pass"
WORDS = {
    IMPOSSIBLE: "impossible: its compulsory bytes or operations take longer at the best rates seen on this machine",
    BASELINE: "its baseline's time is impossible",
    FROM_MEMORY: "answered from memory: what it had not read before takes it longer than what it had",
    UNSEEN: "a stale answer would pass for right here, so no answer that was timed could be judged",
}  # fmt: skip
"""By flag."""


def doubt(flags: str) -> str:
    """Why a row with such flags has no verdict, in words; nothing where it may have one."""
    return next((WORDS[flag] for flag in flags.split() if flag in WORDS), "")


def doubted(run: Run, frame: pd.DataFrame, regime: str, more: pd.DataFrame | None = None) -> pd.DataFrame:
    """The timing frame of a regime with these flags, and without the verdicts that they rule out.

    Args:
        more: that of another regime, in which an impossible time, or an answer from memory, is one here too.
    """
    unseen, least = _unseen(run, regime), _least(run)
    rows = frame.to_dict("records")
    times = [list(f["latency"]) for f in (frame, more) if f is not None]
    keys = [tuple(row[k] for k in [*GROUP, "pass"]) for row in rows]
    impossible = [any(least.get(key, 0.0) > MOST_OF_A_ROOF * t[i] for t in times) for i, key in enumerate(keys)]
    baselines = {key for row, key, bad in zip(rows, keys, impossible, strict=True) if bad and _is_baseline(row)}
    elsewhere = [""] * len(rows) if more is None else list(more["flags"])
    flags, verdicts = [], []
    for row, key, bad, other in zip(rows, keys, impossible, elsewhere, strict=True):
        remembered = FROM_MEMORY in str(other).split() and FROM_MEMORY not in str(row["flags"]).split()
        held = {
            FROM_MEMORY: remembered,
            UNSEEN: key in unseen,
            IMPOSSIBLE: bad,
            BASELINE: key in baselines and not _is_baseline(row),
        }
        own = [flag for flag, holds in held.items() if holds and row["status"] == "ok"]
        flags.append(" ".join([*own, str(row["flags"])]).strip())
        verdicts.append(NO_VERDICT if doubt(flags[-1]) and not _is_baseline(row) else row["verdict"])
    return frame.assign(flags=flags, verdict=verdicts) if rows else frame


def _is_baseline(row: dict[Any, Any]) -> bool:
    return bool(row["verdict"] == "baseline")


def _least(run: Run) -> dict[tuple[Any, ...], float]:
    """Seconds of the nearer roof by group and pass, where both are known."""
    found = {}
    for work in run.of("work"):
        if (times := floors(run.of("roof"), work)) is not None:
            found[tuple(work[k] for k in [*GROUP, "pass"])] = max(times)
    return found


def _unseen(run: Run, regime: str) -> set[tuple[Any, ...]]:
    """Groups and passes in which a stale answer would have passed in some launch; earlier records don't say."""
    return {
        tuple(r[k] for k in [*GROUP, "pass"])
        for r in run.of("rounds")
        if r.get("unseen") and r.get("regime", "wall") == regime
    }
