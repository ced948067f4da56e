"""Records of what the gate shows of itself, and of what a user sets aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ControlResult:
    """A planted fault, and whether the gate caught it; ``fault`` is its number in the list of known faults."""

    control: str
    fault: int
    device: str
    check: str
    result: Literal["caught", "missed", "not_run"]
    detail: str = ""


@dataclass(frozen=True)
class Waived:
    """A refusal that the user has set aside: the strategy is timed all the same, and its rows have no verdict.

    ``reason`` is what the gate held against it.
    """

    layer: str
    strategy: str
    device: str
    check: str
    reason: str
