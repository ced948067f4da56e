"""Rows of strategies that the gate refused and the user waived: their words stand wherever the strategy does."""

from __future__ import annotations

import pandas as pd

from harness.analyse import frames
from harness.records.store import Run


def words_of(run: Run, layer: str, strategy: str, device: str = "") -> str:
    """``waived: CHECK`` of a strategy on a device, or on any; empty where nothing is waived."""
    found = frames.waivers(run)
    return next(
        (w for (own, name, at), w in found.items() if (own, name) == (layer, strategy) and device in ("", at)), ""
    )


def marked(run: Run, shown: pd.DataFrame) -> pd.DataFrame:
    """A table for people, the words behind the names of its strategies."""
    words = _words(run, shown)
    if not any(words):
        return shown
    names = [f"{name} ({said})" if said else name for name, said in zip(shown["strategy"], words, strict=True)]
    return shown.assign(strategy=names)


def with_column(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """A table for programs, with a column ``waived`` where any row has words."""
    words = _words(run, frame)
    return frame.assign(waived=words) if any(words) else frame


def _words(run: Run, frame: pd.DataFrame) -> list[str]:
    if not run.of("waived") or not {"layer", "strategy"} <= {*frame.columns}:
        return []
    return [words_of(run, r.layer, r.strategy, getattr(r, "device", "")) for r in frames.rows_of(frame)]


def sentence(run: Run, layer: str) -> str:
    """All waivers of a layer in a line; empty where there are none."""
    found = {name: words for (own, name, _), words in frames.waivers(run).items() if own == layer}
    return "timed though refused: " + "; ".join(f"{n} ({w})" for n, w in found.items()) if found else ""
