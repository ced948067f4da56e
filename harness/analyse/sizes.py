"""Where a size lies among those that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.records.dims import sizes_of

FARTHEST = 1.0
"""A size that lies farther than this, in doublings, from the line between two measured ones is not between them."""


@dataclass(frozen=True)
class Place:
    """A size between two measured ones, or at one (then they are the same and the weight is 0).

    Attributes:
        weight: of the upper one; sizes are logarithmic.
        nearest: the measured size that is closest.
        doublings: distance to it, along all dims together.
        off: distance, in doublings too, from the straight line between the two.
    """

    lower: str
    upper: str
    weight: float
    nearest: str
    doublings: float
    off: float

    @property
    def measured(self) -> bool:
        """Whether it is a measured size itself."""
        return self.lower == self.upper


class OutsideError(ValueError):
    """The size lies outside of what was measured; one clear line."""


def place(asked: str, measured: Sequence[str]) -> Place:
    """Find the two measured sizes that a size lies between.

    Args:
        measured: with the same options as the size.

    Raises:
        OutsideError: there are no two such sizes.
    """
    order = list(sizes_of(asked))
    points = {dims: np.array([np.log2(sizes_of(dims)[name]) for name in order]) for dims in measured}
    own = np.array([np.log2(size) for size in sizes_of(asked).values()])
    distance = {dims: float(np.linalg.norm(own - at)) for dims, at in points.items()}
    nearest = min(distance, key=lambda dims: distance[dims])
    if distance[nearest] == 0:
        return Place(nearest, nearest, 0.0, nearest, 0.0, 0.0)
    found = []
    for a, b in combinations(measured, 2):
        along = points[b] - points[a]
        weight = float((own - points[a]) @ along / (along @ along))
        off = float(np.linalg.norm(own - points[a] - weight * along))
        if 0 <= weight <= 1 and off <= FARTHEST:
            ends = (a, b, weight) if points[a].sum() <= points[b].sum() else (b, a, 1 - weight)
            found.append((round(off, 9), float(np.linalg.norm(along)), ends))
    if not found:
        what = "only " if len(measured) == 1 else ""
        raise OutsideError(
            f"{asked} lies outside of what was measured ({what}{'; '.join(measured)}), and nothing is extrapolated; "
            f"the nearest is {nearest}, {distance[nearest]:.2g} doublings away"
        )
    off, _, (lower, upper, weight) = min(found)
    return Place(lower, upper, weight, nearest, distance[nearest], off)
