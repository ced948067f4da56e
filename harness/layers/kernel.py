"""What the harness must know of a Triton kernel: where it is launched, and what it is compiled for ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.layers.choices import one_of

if TYPE_CHECKING:
    from harness.layers.launches import Launches
    from harness.layers.spec import Dims

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
"""What kernels are compiled for ahead of time."""


@dataclass(frozen=True)
class Kernel:
    """A Triton kernel that a strategy launches.

    Attributes:
        function: the ``@triton.jit`` function, or what ``triton.autotune`` and ``triton.heuristics`` made of it.
        passes: where the gate must see it launched: ``forward``, ``backward`` or both.
        signatures: for the ahead-of-time gate, by a name: types of the run-time arguments
            (``{"x": "*fp32", "N": "i32"}``) and values of the compile-time ones (``{"BLOCK": 64}``) together. Pointers
            are taken as aligned to 16 bytes, and integers as multiples of 16 where they say so (``i32:16``), as
            Triton takes them at a launch; without it nothing is loaded in wide words or ahead of its use. What a
            configuration of ``triton.autotune`` gives may be left out, what ``triton.heuristics`` gives may not.
        options: compile options such as ``{"num_warps": 4}``.
        targets: what these signatures and options are for, such as ``("sm_90",)``; empty: for every target. A kernel
            with other configurations for other targets is stated once for each.
        dtypes: names of those that it is launched with, where that is not every dtype which the strategy claims: a
            kernel for some dtypes on some targets, beside one for all.
    """

    function: Any
    passes: tuple[Literal["forward", "backward"], ...]
    signatures: Mapping[str, Mapping[str, str | int | bool]]
    options: Mapping[str, int] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("targets", self.targets, TARGETS, some=False)

    @property
    def jitted(self) -> Any:
        """The ``@triton.jit`` function itself, without tuners and heuristics around it."""
        return _layers_of(self.function)[-1]

    @property
    def name(self) -> str:
        """Its name in code."""
        return str(self.jitted.__name__)

    @property
    def tuners(self) -> tuple[Any, ...]:
        """The ``triton.autotune`` objects around it, which a strategy may launch though it states the function alone.

        They are looked for in the module that the function was written in.
        """
        jitted = self.jitted
        around = [self.function, *getattr(getattr(jitted, "fn", None), "__globals__", {}).values()]
        chains = [chain for thing in around if (chain := _layers_of(thing))[-1] is jitted]
        return tuple({id(t): t for chain in chains for t in chain if hasattr(t, "prune_configs")}.values())

    @property
    def configurations(self) -> tuple[Any, ...]:
        """The ``triton.Config`` objects that its tuners choose from; empty where nothing is tuned."""
        return tuple(config for tuner in self.tuners for config in tuner.configs if len(tuner.configs) > 1)


def _layers_of(thing: Any) -> list[Any]:
    """A kernel and what it wraps, layer by layer; the last is what wraps no other kernel."""
    layers = [thing]
    while hasattr(inner := getattr(layers[-1], "fn", None), "run"):
        layers.append(inner)
    return layers


@dataclass(frozen=True)
class Tuning:
    """What ``layerbench tune`` may try for a kernel.

    Attributes:
        table: its launches.
        passed: the pass that it is timed in.
        size: what ``up_to`` counts, from the dims; None where the kernel is not launched at such dims.
        candidates: configurations to try for such a size and dtype (its name), beside the one in the table.
    """

    table: Launches
    passed: Literal["forward", "backward"]
    size: Callable[[Dims], int | None]
    candidates: Callable[[int, str], Sequence[Mapping[str, int]]]
