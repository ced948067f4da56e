"""What the meter writes down of the machine: the rates that bound it, and what it proves of itself there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Roof:
    """A rate that nothing on this machine was seen to exceed, measured in the same run.

    Attributes:
        what: ``copy`` (bytes read and written a second, ``footprint`` bytes in all), ``product`` (of square
            matrices: floating-point operations a second) or ``launch`` (calls of an operation on one number a second).
        per_second: the rate.
    """

    device: str
    threads: int
    what: Literal["copy", "product", "launch"]
    dtype: str
    footprint: int
    per_second: float


@dataclass(frozen=True)
class Proof:
    """Something that the meter proves of itself on this machine: a figure, and what it must lie between."""

    proof: str
    what: str
    figure: float | None
    low: float | None
    high: float | None
    unit: str
    result: Literal["held", "failed", "not_run", "shown"]
    detail: str = ""


def proof(
    name: str, what: str, figure: float, low: float | None, high: float | None, unit: str, detail: str = ""
) -> Proof:
    """A figure that must lie between two bounds, either of which may be open."""
    held = (low is None or figure >= low) and (high is None or figure <= high)
    return Proof(name, what, figure, low, high, unit, "held" if held else "failed", detail)


def shown(name: str, what: str, figure: float, unit: str) -> Proof:
    """A figure beside the others that nothing is asked of."""
    return Proof(name, what, figure, None, None, unit, "shown")
