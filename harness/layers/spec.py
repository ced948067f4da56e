"""What a person who writes a layer or a strategy fills in: plain, frozen data.

Nothing here imports torch at run time, so the face of the package stays light.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from harness.layers.launches import Launches

Dims = Mapping[str, int]
"""Sizes by name, such as ``{"N": 1024, "D": 256}``."""

Draw = Callable[[tuple[int, ...], "Generator"], "Tensor"]
"""Draws a tensor of a shape from a generator, on the generator's device; the harness rounds it to the case's dtype."""


TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
"""What kernels are compiled for ahead of time."""
MARKERS, DASHES = tuple(".,ov^<>12348sp*hH+xXDdP|_"), ("-", "--", "-.", ":")


def _one_of(what: str, given: Sequence[str], known: Sequence[str], some: bool = True) -> None:
    """Raise ValueError with the valid choices."""
    if isinstance(given, str):
        raise ValueError(f"{what} {given!r}: give a tuple, such as ({given!r},)")
    for name in given:
        if name not in known:
            raise ValueError(f"{what} {name!r}: choose from {', '.join(known)}")
    if some and not given:
        raise ValueError(f"{what}: give at least one of {', '.join(known)}")


@dataclass(frozen=True)
class Operand:
    """An input or a parameter of a layer.

    Attributes:
        shape: names of the dims, such as ``("N", "D")``; ``()`` is a scalar.
        draw: how random values of it are drawn.
        least: the narrowest dtype that it comes in: ``"float32"`` where its numbers mean little in a narrower one (time
            stamps, whose gaps are lost in bfloat16), ``""`` where it comes in the case's dtype, whatever that is.
        differentiable: whether a gradient of it is asked for. An input may be without one (time stamps, indices); a
            parameter may not.
    """

    shape: tuple[str, ...]
    draw: Draw
    least: str = ""
    differentiable: bool = True

    def __post_init__(self) -> None:
        _one_of("least", (self.least,), ("", "float32"))

    def sizes(self, dims: Dims) -> tuple[int, ...]:
        """The shape in numbers. Raises KeyError when the layer's dims lack a name."""
        return tuple(dims[name] for name in self.shape)


@dataclass(frozen=True)
class Cost:
    """Compulsory work of one pass: what no implementation can do without.

    Attributes:
        flops: floating-point operations, a multiply-add counting as two.
        elements: elements that must be read from or written to memory (times the item size: bytes).
    """

    flops: int
    elements: int


@dataclass(frozen=True)
class Example:
    """One forward of a training step: the layer's inputs by name and the target, all float64 on the CPU."""

    inputs: Mapping[str, Tensor]
    target: Tensor


@dataclass(frozen=True)
class Task:
    """A training task on real data, small enough for a test.

    One step sums the loss over all examples (full batch, so that the order of the data plays no part), takes
    the gradients of the parameters and makes one step of plain SGD.

    Attributes:
        title: what is predicted from what, with its unit.
        source: where the data come from and under which licence.
        dims: sizes of one example, from which the parameters get their shapes.
        examples: loads the data.
        loss: ``loss(output, target)``, a scalar.
        learning_rate: of plain SGD.
        steps: how many.
        naive_loss: loss of the forecast that needs no training (the bar to beat), and what it is.
        target_loss: what every strategy must reach after the last step.
    """

    title: str
    source: str
    dims: Dims
    examples: Callable[[], Sequence[Example]]
    loss: Callable[[Tensor, Tensor], Tensor]
    learning_rate: float
    steps: int
    naive_loss: float
    naive: str
    target_loss: float


@dataclass(frozen=True)
class Layer:
    """The mathematics of a layer; its folder holds one file for each strategy.

    Attributes:
        title: a few words.
        formula: of the forward, in one line.
        inputs: operands that change at every call, in the order of the forward's arguments.
        parameters: operands that are trained, in the same order, after the inputs.
        output: names of the output's dims.
        check: sizes for the gate: small, odd, one of them all ones, at most three.
        sizes: sizes to measure, by device and profile; the first of a profile's is its most telling one.
        cost: compulsory work of a pass at some dims; passes are ``forward`` and ``backward``.
        task: the training task.
        reference: name of the strategy whose float64 run is the oracle.
        leading: the dim that stands first in the inputs (and the output, if there) and may be any number: zero, very
            many, or several dims at once; ``""`` where there is none.
        causal: the dim along which the output must not look ahead; ``""`` where there is none.
    """

    title: str
    formula: str
    inputs: Mapping[str, Operand]
    parameters: Mapping[str, Operand]
    output: tuple[str, ...]
    check: tuple[Dims, ...]
    sizes: Mapping[str, Mapping[str, tuple[Dims, ...]]]
    cost: Callable[[str, Dims], Cost]
    task: Task
    reference: str = "autograd"
    leading: str = ""
    causal: str = ""

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("a layer needs at least one parameter")
        names = {name for o in self.operands.values() for name in o.shape} | set(self.output)
        measured = [d for profiles in self.sizes.values() for all_dims in profiles.values() for d in all_dims]
        for dims in (*self.check, self.task.dims, *measured):
            if set(dims) != names:
                raise ValueError(f"dims {dict(dims)} must name each of {', '.join(sorted(names))}, and nothing else")
        if not all(o.differentiable for o in self.parameters.values()):
            raise ValueError("a parameter that is not differentiable cannot be trained: make it an input")
        if not 1 <= len(self.check) <= 3:
            raise ValueError(f"check has {len(self.check)} sizes: give one to three")
        if self.leading and not all(self.leading == o.shape[0] for o in self.leading_inputs.values()):
            raise ValueError(f"leading {self.leading!r} must be the first dim of each input that has it")
        if self.leading and not (self.leading_inputs and self.leading not in self.output[1:]):
            raise ValueError(
                f"leading {self.leading!r} must be a dim of an input, and first in the output if it is there"
            )
        if self.leading and any(self.leading in o.shape for o in self.parameters.values()):
            raise ValueError(f"leading {self.leading!r}: a parameter has it, so it cannot be any number")
        if self.causal and self.causal not in self.output:
            raise ValueError(f"causal {self.causal!r} must be a dim of the output")

    @property
    def leading_inputs(self) -> dict[str, Operand]:
        """The inputs that have the leading dim."""
        return {name: o for name, o in self.inputs.items() if self.leading in o.shape}

    @property
    def has_samples(self) -> bool:
        """Whether its leading dim counts samples that can go one by one: every input has it, and the output."""
        return bool(self.leading) and self.leading in self.output and len(self.leading_inputs) == len(self.inputs)

    @property
    def operands(self) -> dict[str, Operand]:
        """Inputs and parameters by name, in the order of the forward's arguments."""
        return {**self.inputs, **self.parameters}


@dataclass(frozen=True)
class Style:
    """How a strategy looks in plots: a colour (Okabe–Ito), a marker and a dash, fixed for its name."""

    color: str
    marker: str
    dash: str = "-"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.color):
            raise ValueError(f"color {self.color!r}: give it as #RRGGBB")
        _one_of("marker", (self.marker,), MARKERS)
        _one_of("dash", (self.dash,), DASHES)


@dataclass(frozen=True)
class Kernel:
    """A Triton kernel that a strategy launches.

    Attributes:
        function: the ``@triton.jit`` function.
        passes: where the gate must see it launched: ``forward``, ``backward`` or both.
        signatures: for the ahead-of-time gate, by a name: types of the run-time arguments
            (``{"x": "*fp32", "N": "i32"}``) and values of the compile-time ones (``{"BLOCK": 64}``) together. Pointers
            are taken as aligned to 16 bytes, and integers as multiples of 16 where they say so (``i32:16``), as
            Triton takes them at a launch; without it nothing is loaded in wide words or ahead of its use.
        options: compile options such as ``{"num_warps": 4}``.
        targets: what these signatures and options are for, such as ``("sm_90",)``; empty: for every target. A kernel
            with other configurations for other targets is stated once for each.
    """

    function: Any
    passes: tuple[Literal["forward", "backward"], ...]
    signatures: Mapping[str, Mapping[str, str | int | bool]]
    options: Mapping[str, int] = field(default_factory=dict)
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("targets", self.targets, TARGETS, some=False)


@dataclass(frozen=True)
class Tuning:
    """What ``layerbench tune`` may try for a kernel.

    Attributes:
        table: its launches.
        passed: the pass that it is timed in.
        size: what ``up_to`` counts, from the dims.
        candidates: configurations to try for such a size and dtype (its name), beside the one in the table.
    """

    table: Launches
    passed: Literal["forward", "backward"]
    size: Callable[[Dims], int]
    candidates: Callable[[int, str], Sequence[Mapping[str, int]]]


@dataclass(frozen=True)
class Strategy:
    """One way to implement a layer. The last statement of its file is ``strategy = Strategy(...)``.

    Attributes:
        forward: a function of the layer's inputs and parameters by name, or an ``nn.Module`` class built from the
            layer's dims as keyword arguments whose parameters have the layer's names.
        gradients: ``tape`` (autograd records the forward) or ``func`` (``torch.func.vjp`` and ``grad_and_value``:
            no ``.grad``, no hooks).
        devices: where it runs at full speed and is timed. A strategy with kernels is checked on the CPU all the
            same, in Triton's interpreter.
        dtypes: what it claims to compute right; it is checked in each.
        needs: what the machine must have: ``compiler`` (a C++ compiler), ``triton``.
        simplicity: rank among equals; the lower is preferred where speeds tie.
        kernels: its Triton kernels.
        tunings: its kernels whose launches stand in tables.
        style: in plots; one is found for it where it states none.
        variant_of: the strategy of the same layer of which it is a variant (another way to compile it, say), or ``""``.
            A variant is a row like any other, but quick looks leave it out, and without a style of its own it has the
            other's colour.
    """

    forward: Callable[..., Any]
    gradients: Literal["tape", "func"] = "tape"
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16")
    needs: tuple[str, ...] = ()
    simplicity: int = 99
    kernels: tuple[Kernel, ...] = ()
    tunings: tuple[Tuning, ...] = ()
    style: Style | None = None
    variant_of: str = ""

    def __post_init__(self) -> None:
        if not callable(self.forward):
            raise ValueError("forward must be a function or an nn.Module class")
        if not isinstance(self.simplicity, int):
            raise ValueError(f"simplicity {self.simplicity!r}: give a whole number, lower is simpler")
        _one_of("gradients", (self.gradients,), ("tape", "func"))
        _one_of("devices", self.devices, ("cpu", "cuda"))
        _one_of("dtypes", self.dtypes, ("float64", "float32", "bfloat16", "float16"))
        _one_of("needs", self.needs, ("compiler", "triton"), some=False)
