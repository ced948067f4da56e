"""Tables about the meter: its proofs, shares of the roof, the three regimes of a GPU, where the time went."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from harness.analyse.frames import rows_of


def proofs(frame: pd.DataFrame) -> pd.DataFrame:
    """Figure, range and verdict of each proof; ``frame`` is ``frames.proofs``."""
    rows = [
        {
            "proof": row.proof,
            "what": row.what,
            "figure": _figure(row.figure, row.unit),
            "must be": _range(row.low, row.high, row.unit),
            "verdict": row.result.replace("_", " ") + (f": {row.detail}" if row.detail else ""),
        }
        for row in rows_of(frame)
    ]
    return pd.DataFrame(rows)


def _known(number: Any) -> bool:
    return number is not None and not math.isnan(number)


def _figure(number: Any, unit: str) -> str:
    if not _known(number):
        return "–"
    match unit:
        case "ratio" | "share":
            return f"{number:.3%}"
        case "":
            return f"{number:.5f}"
        case _:
            return f"{number:.3g}" + ("" if unit == "count" else f" {unit}")


def _range(low: Any, high: Any, unit: str) -> str:
    if _known(low) and _known(high):
        return _figure(low, unit) if low == high else f"{_figure(low, unit)} to {_figure(high, unit)}"
    if _known(high):
        return f"at most {_figure(high, unit)}"
    return f"at least {_figure(low, unit)}" if _known(low) else ""


def roofs(frame: pd.DataFrame) -> pd.DataFrame:
    """Each case's share of the nearer roof; ``frame`` is ``device.roofs``."""
    rows = [
        {
            "layer": row.layer,
            "size": row.dims,
            "dtype": row.dtype,
            "device": row.device + (f" · {row.threads} threads" if row.device == "cpu" and row.threads > 1 else ""),
            "pass": row.passed,
            "strategy": row.strategy,
            "bound by": row.bound,
            "share of the roof": f"{row.share:.0%}",
            "GB/s": f"{row.bytes / row.latency / 1e9:.3g}",
            "GFLOP/s": f"{row.flops / row.latency / 1e9:.3g}",
        }
        for row in rows_of(frame)
    ]
    return pd.DataFrame(rows)


def regimes(frame: pd.DataFrame) -> pd.DataFrame:
    """Microseconds a call by regime; ``frame`` is ``device.regimes``."""
    rows = [
        {
            "layer": row.layer,
            "size": row.dims,
            "dtype": row.dtype,
            "pass": row.passed,
            "strategy": row.strategy,
            "wall (µs)": _microseconds(row.wall),
            "device, cold (µs)": _microseconds(row.device_cold),
            "device, hot (µs)": _microseconds(row.device_hot),
            "": "dispatch bound" if row.dispatch_bound else "",
        }
        for row in rows_of(frame)
    ]
    return pd.DataFrame(rows)


def spending(frame: pd.DataFrame) -> pd.DataFrame:
    """Where the run's time went, and shares of what measuring took; ``frame`` is ``spending.spending``."""
    share = frame["share"].map(lambda x: "–" if math.isnan(x) else f"{x:.1%}")
    return pd.DataFrame({"spent on": frame["what"], "seconds": frame["seconds"].map("{:.1f}".format), "share": share})


def comparison(frame: pd.DataFrame) -> pd.DataFrame:
    """What has changed between two runs; ``frame`` is that of ``compare``."""
    rows = [
        {
            "layer": row.layer,
            "size": row.dims,
            "dtype": row.dtype,
            "device": row.device + (f" · {row.threads} threads" if row.device == "cpu" and row.threads > 1 else ""),
            "pass": row.passed,
            "strategy": row.strategy,
            "time after ÷ before": _change(row.change, row.change_low, row.change_high),
            "tie within": "–" if math.isnan(row.margin) else f"±{row.margin:.1%}",
            "verdict": row.verdict + (f": {row.reason}" if row.reason else ""),
        }
        for row in rows_of(frame)
    ]
    return pd.DataFrame(rows)


def _change(change: float, low: float, high: float) -> str:
    if math.isnan(change):
        return "–"
    return f"{change:.3f}" + ("" if math.isnan(low) else f" ({low:.3f}–{high:.3f})")


def _microseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds * 1e6:.4g}"
