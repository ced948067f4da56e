"""Measured cases that get no verdict, and are not picked: each bears a flag whose words say why."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analyse.floors import floors
from harness.analyse.launches import GROUP
from harness.records.store import Run

NO_VERDICT = "no verdict"
MOST_OF_A_ROOF = 1.05
"""Share of a roof beyond which a time is impossible: that much is noise in the roof's own measurement."""

IMPOSSIBLE, BASELINE, UNSEEN = "impossible", "baseline_impossible", "a_stale_answer_would_pass"
WORDS = {
    IMPOSSIBLE: f"impossible: it took less time than {1 / MOST_OF_A_ROOF:.0%} of what its compulsory bytes or operations"
    " take at the machine's best rates",
    BASELINE: "its baseline's time is impossible",
    UNSEEN: "a stale answer would pass for right here, so no answer that was timed could be judged",
}  # fmt: skip
"""By flag."""


def doubt(flags: str) -> str:
    """Why a row with such flags has no verdict, in words; nothing where it may have one."""
    return next((WORDS[flag] for flag in flags.split() if flag in WORDS), "")


def doubted(run: Run, frame: pd.DataFrame, regime: str, more: pd.DataFrame | None = None) -> pd.DataFrame:
    """The timing frame of a regime with these flags, and without the verdicts that they rule out.

    Args:
        more: that of another regime, in which an impossible time is one here too.
    """
    unseen = _unseen(run, regime)
    roofs, work = run.of("roof"), {tuple(r[k] for k in [*GROUP, "pass"]): r for r in run.of("work")}
    frame = frame.copy()
    keys = [tuple(row) for row in frame[[*GROUP, "pass"]].itertuples(index=False)]
    impossible = set()
    for place, key in enumerate(keys):
        if key in unseen and frame["status"].iat[place] == "ok":
            _flag(frame, place, UNSEEN)
        found = floors(roofs, work[key]) if key in work else None
        times = [f["latency"].iat[place] for f in (frame, more) if f is not None]
        if found is not None and any(max(found) > MOST_OF_A_ROOF * t for t in times):
            _flag(frame, place, IMPOSSIBLE)
            if frame["verdict"].iat[place] == "baseline":
                impossible.add(key)
    for place, key in enumerate(keys):
        if key in impossible and frame["status"].iat[place] == "ok" and frame["verdict"].iat[place] != "baseline":
            _flag(frame, place, BASELINE)
    ruled_out = frame["flags"].map(lambda flags: bool(doubt(flags))) & ~frame["verdict"].isin(["baseline", ""])
    frame.loc[ruled_out, "verdict"] = NO_VERDICT
    return frame


def _flag(frame: pd.DataFrame, place: int, flag: str) -> None:
    column: Any = frame.columns.get_loc("flags")
    frame.iat[place, column] = f"{flag} {frame.iat[place, column]}".strip()


def _unseen(run: Run, regime: str) -> set[tuple[Any, ...]]:
    """Groups and passes in which a stale answer would have passed in some launch; earlier records don't say."""
    return {
        tuple(r[k] for k in [*GROUP, "pass"])
        for r in run.of("rounds")
        if r.get("unseen") and r.get("regime", "wall") == regime
    }
