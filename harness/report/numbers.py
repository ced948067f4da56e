"""Numbers in words: as many digits as their uncertainty supports."""

from __future__ import annotations

import math

import pandas as pd


def decimals(half_width: float) -> int:
    """Decimals that a number with this uncertainty supports: two of the uncertainty's digits, at most four."""
    if not half_width > 0 or math.isinf(half_width):
        return 2
    return max(0, min(4, 1 - math.floor(math.log10(half_width))))


def speed_up(ratio: float, low: float, high: float) -> str:
    """Baseline time ÷ strategy time with its interval: ``1.78× (1.75–1.81)``; a ratio of times comes in."""
    if math.isnan(ratio):
        return "–"
    if math.isnan(low):
        return f"{1 / ratio:.2f}×"
    d = decimals((1 / low - 1 / high) / 2)
    return f"{1 / ratio:.{d}f}× ({1 / high:.{d}f}–{1 / low:.{d}f})"


def cost_ratio(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval: ``1.27× (1.05–1.54)``; without one where it is exact or not known."""
    if not math.isfinite(ratio):
        return "an unknown share"
    if math.isnan(low):
        return f"{ratio:.2f}×"
    if low == high:
        return f"{ratio:.4g}×"
    d = max(2, decimals((high - low) / 2)) if ratio < 10 else 1
    return f"{ratio:.{d}f}× ({low:.{d}f}–{high:.{d}f})"


def in_time(seconds: float) -> str:
    """``0.000932`` as ``932 µs``."""
    if math.isnan(seconds):
        return "–"
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, divisor = next(((u, d) for u, d in units if seconds >= d), ("ns", 1e-9))
    return f"{seconds / divisor:.4g} {unit}"


def number(value: float) -> str:
    """Three digits, or a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:.3g}"
