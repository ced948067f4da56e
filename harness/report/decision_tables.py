"""Tables of what follows from the measurements: the picks, when a compilation is earned, how noisy the run was."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd

from harness.analyse import frames
from harness.analyse.pairs import FIRST_CALL_DOUBT
from harness.analyse.winners import NOT_PLANNED
from harness.report.numbers import cost_ratio, speed_up


def where(row: SimpleNamespace) -> dict[str, object]:
    """The columns that say which group and pass a row is about."""
    return {
        "layer": row.layer,
        "size": row.dims,
        "dtype": row.dtype,
        "device": row.device,
        "threads": row.threads if row.device == "cpu" else "–",
        "pass": row.passed,
    }


def answered_first(winners: pd.DataFrame) -> pd.DataFrame:
    """What was planned of a map's cells: those with a pick, then the others, with the reason why not."""
    planned = winners[winners["reason"] != NOT_PLANNED]
    return planned.sort_values("pick", key=lambda pick: pick == "", kind="stable")


def decision(winners: pd.DataFrame) -> pd.DataFrame:
    """The pick of each group × pass, its margin over the next, ties, and what is not settled; times as ratios."""
    rows = []
    for row in frames.rows_of(winners):
        picked = bool(row.pick)
        rows.append(
            {
                **where(row),
                "use": row.pick or "–",
                "how sure": row.confidence.replace("unsettled", "not settled") or "–",
                "next best": row.runner_up or "–",
                "its time over the pick's": cost_ratio(row.ratio, row.ratio_low, row.ratio_high)
                if not math.isnan(row.ratio)
                else "–",
                "ties": row.ties.replace(" ", ", "),
                "may yet win": row.unsettled.replace(" ", ", "),
                "tie band": f"±{100 * row.margin:.1f} %" if picked else "–",
                "n": row.launches if picked else "–",
                "why not": row.reason,
            }
        )
    return pd.DataFrame(rows)


def break_even(frame: pd.DataFrame) -> pd.DataFrame:
    """Calls after which a dearer first call is earned against the baseline, with the range that the ratio's gives."""
    return pd.DataFrame(
        {
            **where(row),
            "strategy": row.strategy,
            "first call (s)": f"{row.first:.2f}",
            "baseline's": f"{row.baseline_first:.2f}",
            "calls to break even": _calls(row.calls, row),
            "range": " to ".join(dict.fromkeys((_calls(row.calls_low, row), _calls(row.calls_high, row)))),
            "first calls measured at": row.measured_at,
        }
        for row in frames.rows_of(frame)
    )


def _calls(count: float, row: SimpleNamespace) -> str:
    if math.isnan(count):
        return "–"
    if row.first <= FIRST_CALL_DOUBT**2 * row.baseline_first:
        return "first call no dearer"
    return "never" if math.isinf(count) else f"{float(f'{count:.2g}'):,.0f}"


def noise(frame: pd.DataFrame) -> pd.DataFrame:
    """The baseline against itself; the spread of its samples within and between launches, in per cent."""
    return pd.DataFrame(
        {
            **where(row),
            "baseline ÷ itself": speed_up(row.ratio, row.ratio_low, row.ratio_high),
            "tie band (%)": f"±{100 * row.margin:.1f}",
            "spread within launches (%)": f"{100 * row.within:.1f}",
            "between launches (%)": "–" if math.isnan(row.between) else f"{100 * row.between:.1f}",
            "flagged arms (%)": f"{100 * row.noisy:.0f}",
            "n": row.launches,
        }
        for row in frames.rows_of(frame)
    )
