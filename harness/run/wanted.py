"""What a user asks for: profiles, options, and the machine that it is asked of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.records.modes import LOOPED, PASSES
from harness.run.jobs import Scope


class UsageError(ValueError):
    """Something was asked for that does not exist; one line with the valid choices."""


@dataclass(frozen=True)
class Profile:
    """How much is measured.

    Attributes:
        passes: in the order in which they are timed.
        launches: fresh processes; an interval needs five.
        dtypes: for every size; ``more_dtypes`` for the first size only; ``gpu_dtypes`` and ``more_gpu_dtypes`` likewise
            on a GPU, where people train in 16 bits.
        every_core: whether the first size is also measured with all physical cores.
        cold: whether cold first calls (empty compile caches) are measured.
        seconds: for the samples of one pass of one group in one launch; half of it by each clock of a GPU.
        more_launches: of a second look at what the first left inconclusive; 0 for no second look.
        minutes: for the whole run, the gate among it; groups that do not fit are left out, the least telling first.
        variants: devices on which variants of strategies are measured without being asked for by name.
        claims: kinds of claims, about every strategy of each layer, that a run of the profile sets out with. The quick
            one has no time to settle whether all train alike in Triton's interpreter.
    """

    passes: tuple[str, ...]
    launches: int
    dtypes: tuple[str, ...]
    more_dtypes: tuple[str, ...] = ()
    gpu_dtypes: tuple[str, ...] = ("bfloat16",)
    more_gpu_dtypes: tuple[str, ...] = ()
    every_core: bool = False
    cold: bool = False
    seconds: float = 1.0
    more_launches: int = 0
    minutes: float | None = None
    variants: tuple[str, ...] = ()
    claims: tuple[str, ...] = ("correct", "converges", "bits")

    def dtypes_on(self, device: str, first: bool) -> tuple[str, ...]:
        """What a size is measured in, the ``first`` of a layer in some more."""
        every, more = (self.gpu_dtypes, self.more_gpu_dtypes) if device == "cuda" else (self.dtypes, self.more_dtypes)
        return every + (more if first else ())

    @property
    def looks(self) -> int:
        """How often the data are looked at, planned before the first."""
        return 2 if self.more_launches else 1


PROFILES = {
    "quick": Profile(("forward", "forward_backward"), 5, ("float32",), minutes=8, claims=("correct", "bits")),
    "default": Profile(
        ("forward", "forward_backward", *LOOPED), 8, ("float32",), ("bfloat16",), every_core=True, cold=True,
        more_launches=4, minutes=20, variants=("cuda",), more_gpu_dtypes=("float32",),
    ),
    "full": Profile(
        PASSES, 8, ("float32", "bfloat16"), ("float64",), every_core=True, cold=True, more_launches=8,
        variants=("cpu", "cuda"), gpu_dtypes=("bfloat16", "float32"), more_gpu_dtypes=("float64",),
    ),
}  # fmt: skip

GATE_LEVELS = {"quick": "quick", "default": "standard", "full": "full"}
"""How much the gate checks before a profile is measured."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; an empty tuple means what the profile says, no baseline each layer's reference.

    ``allocator`` is ``fixed`` (glibc's thresholds pinned) or ``system`` (left to move). ``scope`` is how much the gate
    checks; without ``measure`` there is nothing but the gate. ``dims`` and ``passes`` are only these sizes and passes,
    in the profile or not; a layer that no entry of ``dims`` names is left out. ``shard`` is (number, of how many), the
    first being 1, or empty for the whole plan. ``waive`` are refusals to set aside, each ``CHECK`` or
    ``CHECK:STRATEGY`` (see waivers.py).
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
    allocator: str = "fixed"
    scope: Scope = field(default_factory=Scope)
    measure: bool = True
    dims: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    shard: tuple[int, ...] = ()
    waive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What planning needs to know of the machine; ``memory`` by device, in bytes, where it is known."""

    cuda: bool
    compiler: bool
    physical_cores: int
    memory: Mapping[str, int] = field(default_factory=dict)
