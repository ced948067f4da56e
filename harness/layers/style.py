"""The look of a strategy in plots."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.layers.choices import one_of

MARKERS, DASHES = tuple(".,ov^<>12348sp*hH+xXDdP|_"), ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """The look of a strategy in plots: a colour (Okabe–Ito), a marker and a dash, fixed for its name."""

    color: str
    marker: str
    dash: str = "-"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.color):
            raise ValueError(f"color {self.color!r}: give it as #RRGGBB")
        one_of("marker", (self.marker,), MARKERS)
        one_of("dash", (self.dash,), DASHES)
