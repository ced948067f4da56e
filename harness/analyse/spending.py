"""Where the time of a run went: how much of it into samples, and how much around them."""

from __future__ import annotations

import pandas as pd

from harness.records.store import Run

MEASURING = ("samples", "warm-up", "first calls", "loading strategies", "drawing and judging", "starting processes")
APART = {
    "gate": "gate",
    "controls": "gate",
    "proofs": "proofs and roofs",
    "roofs": "proofs and roofs",
    "memory": "memory",
}
"""Kinds of cells that are no part of measuring time, which is the kinds below."""
TIMED = ("time", "cold")


def spending(run: Run) -> pd.DataFrame:
    """Seconds of processes by what they were spent on; empty for runs that did not record it.

    Columns: ``what``; ``seconds``; ``share`` of those that went into measuring time (NaN for the rest). ``samples``
    holds the untimed calls before each and calibration; ``loading strategies`` their imports, the compiler's among
    them; ``drawing and judging`` is all else within the cells.
    """
    found = dict.fromkeys((*MEASURING, *APART.values()), 0.0)
    for cell in run.of("cell"):
        kind = cell["cell"].split(" ")[0]
        waited = cell.get("waited", 0.0)
        if kind in APART:
            found[APART[kind]] += cell["seconds"] + waited
        elif kind in TIMED:
            found["drawing and judging"] += cell["seconds"]
            found["starting processes"] += waited
    inside = {
        "samples": sum(r.get("spent", 0.0) for r in run.of("rounds")),
        "warm-up": sum(r.get("warm_up", 0.0) for r in run.of("first_call")),
        "first calls": sum(r["seconds"] for r in run.of("first_call")),
        "loading strategies": sum(r.get("loading", 0.0) for r in run.of("first_call")),
    }
    if not inside["samples"]:
        return pd.DataFrame(columns=["what", "seconds", "share"])
    found |= inside
    found["drawing and judging"] -= sum(inside.values())
    whole = sum(found[what] for what in MEASURING)
    rows = [[what, seconds, seconds / whole if what in MEASURING else None] for what, seconds in found.items()]
    return pd.DataFrame(rows, columns=["what", "seconds", "share"]).astype({"share": float})
