"""What a user asks for: profiles, options, and the machine that it is asked of."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.run.jobs import Scope


class UsageError(ValueError):
    """Something was asked for that does not exist; one line with the valid choices."""


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes:
        passes: in the order in which they are timed.
        launches: fresh processes; an interval needs five.
        dtypes: for every size; ``more_dtypes`` for the first size only.
        every_core: whether the first size is also measured with all physical cores.
        cold: whether cold first calls (empty compile caches) are measured.
        seconds: for the samples of one pass of one group in one launch.
    """

    passes: tuple[str, ...]
    launches: int
    dtypes: tuple[str, ...]
    more_dtypes: tuple[str, ...] = ()
    every_core: bool = False
    cold: bool = False
    seconds: float = 1.0


PROFILES = {
    "quick": Profile(("forward", "forward_backward"), 5, ("float32",)),
    "default": Profile(
        ("forward", "forward_backward", "step"), 8, ("float32",), ("bfloat16",), every_core=True, cold=True, seconds=0.5
    ),
    "full": Profile(
        ("forward", "inference", "backward", "forward_backward", "step"), 8, ("float32", "bfloat16"), ("float64",),
        every_core=True, cold=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; an empty tuple means what the profile says, no baseline each layer's reference.

    ``scope`` is how much the gate checks; without ``measure`` there is nothing but the gate.
    """

    profile: str = "default"
    layers: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    baseline: str = ""
    launches: int | None = None
    seed: int = 0
    scope: Scope = field(default_factory=Scope)
    measure: bool = True


@dataclass(frozen=True)
class Machine:
    """What planning needs to know of the machine."""

    cuda: bool
    compiler: bool
    physical_cores: int
