"""Frames and lines as HTML for notebooks; everything in them is escaped, for names may be a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd


def table(frame: pd.DataFrame) -> str:
    """A table for people; empty where it has no rows."""
    return "" if frame.empty else frame.to_html(index=False, escape=True, border=0)


def heading(text: str) -> str:
    """A line in bold."""
    return f"<p><b>{escape(text)}</b></p>"


def lines(texts: Sequence[str]) -> str:
    """Lines with their breaks and indents kept; empty where there are none."""
    return f"<pre>{escape(chr(10).join(texts))}</pre>" if texts else ""
