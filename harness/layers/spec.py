"""What a person who writes a layer or a strategy fills in: plain, frozen data.

Nothing here imports torch at run time, so the face of the package stays light.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.layers.choices import one_of
from harness.layers.draws import normal
from harness.layers.kernel import Kernel, Tuning
from harness.layers.limits import LIMITS
from harness.layers.style import Style
from harness.layers.task import Task

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


Dims = Mapping[str, int]
"""Sizes by name, such as ``{"N": 1024, "D": 256}``; a layer's options are among them, in lower case."""

Draw = Callable[..., "Tensor"]
"""``draw(shape, generator)`` draws a tensor from a generator, on the generator's device; the harness rounds it to the
case's dtype. A draw that needs the sizes (labels below a number of classes) takes a third argument ``dims``."""

Shape = tuple[str, ...] | Callable[[Dims], tuple[int, ...]]

INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "bool")


class ImpossibleDimsError(ValueError):
    """Sizes that a layer cannot have, such as features that its heads do not divide."""


@dataclass(frozen=True)
class Operand:
    """An input or a parameter of a layer.

    Attributes:
        shape: names of the dims, such as ``("N", "D")``, none of them all in lower case, as an option's is; ``()`` is a
            scalar. Where a size is none of the dims, a function of them: ``lambda dims: (4 * dims["D"], dims["D"])``.
        draw: how random values of it are drawn; unit normal by default.
        least: the narrowest dtype that it comes in: ``"float32"`` where its numbers mean little in a narrower one (time
            stamps, whose gaps are lost in bfloat16), ``""`` where it comes in the case's dtype, whatever that is.
        differentiable: whether a gradient of it is asked for. An input may be without one (time stamps, indices); a
            parameter may not.
        dtype: ``"int64"``, ``"bool"``, … for what is no floating-point number (indices, labels, masks) and keeps its
            dtype in every case; ``""`` for what comes in the case's.
    """

    shape: Shape
    draw: Draw = normal
    least: str = ""
    differentiable: bool = True
    dtype: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.shape, str):
            raise ValueError(f"shape {self.shape!r}: give a tuple, such as ({self.shape!r},)")
        one_of("least", (self.least,), ("", "float32"))
        one_of("dtype of an operand", (self.dtype,), ("", *INTEGERS))
        if self.dtype and self.differentiable:
            raise ValueError(f"an operand of {self.dtype} has no gradient: say differentiable=False")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dims; empty where the shape is a function."""
        return () if callable(self.shape) else self.shape

    def sizes(self, dims: Dims) -> tuple[int, ...]:
        """The shape in numbers.

        Raises:
            KeyError: the dims lack a name.
            ImpossibleDimsError: the layer cannot have these sizes.
        """
        return self.shape(dims) if callable(self.shape) else tuple(dims[name] for name in self.shape)

    def drawn(self, dims: Dims, generator: Generator) -> Tensor:
        """Random values at some dims, as ``draw`` gives them."""
        more = {"dims": dims} if "dims" in inspect.signature(self.draw).parameters else {}
        return self.draw(self.sizes(dims), generator, **more)


@dataclass(frozen=True)
class Cost:
    """Compulsory work of one pass: what no implementation can do without.

    Attributes:
        flops: floating-point operations, a multiply-add counting as two.
        elements: elements that must be read from or written to memory (times the item size: bytes).
    """

    flops: int
    elements: int


def options_of(dims: Dims) -> dict[str, int]:
    """The options among dims: those that are named in lower case."""
    return {name: value for name, value in dims.items() if name.islower()}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The mathematics of a layer; its folder holds one file for each strategy.

    A layer may have *options*: whole numbers that choose between formulas, such as whether an activation follows. They
    stand among the dims (``B=256,I=256,O=256,gelu=1``), so a case states them wherever it states its sizes, and the
    strategy gets them as keyword arguments: ``forward(x, weight, bias, *, gelu)``; an ``nn.Module`` class gets them
    with the sizes in its constructor. Their names are in lower case and those of sizes are not, which tells them apart
    in a record. Sizes whose options differ are never joined by a line or interpolated between.

    Attributes:
        title: a few words.
        formula: of the forward, in one line.
        inputs: operands that change at every call, in the order of the forward's arguments.
        parameters: operands that are trained, in the same order, after the inputs.
        output: names of the output's dims.
        check: sizes for the gate: small, odd, one of them all ones, at most three; each value of each option in one.
            The first is where most is asked: give it the options with which kernels do all that they can.
        sizes: sizes to measure, by device and profile; the first of a profile's is its most telling one. Where none
            are stated, the largest of ``check``.
        cost: compulsory work of a pass at some dims; passes are ``forward`` and ``backward``. Without it no roof is
            shown.
        task: the training task; without it nothing is trained, and that check says ``not_applicable``.
        reference: name of the strategy whose float64 run is the oracle.
        leading: the dim that stands first in the inputs (and the output, if there) and may be any number: zero, very
            many, or several dims at once; ``""`` where there is none.
        causal: the dim along which the output must not look ahead; ``""`` where there is none.
        options: the values that each may have, by name; a flag has ``(0, 1)``.
        nonfinite: ``as reference`` where strategies must answer as the reference does even where that is a matter of
            definition: NaN for a row with nothing in it, infinities. ``free`` where a difference there is shown, and
            held against nobody. An input's NaN that is hidden is wrong either way.
        gradient: ``derivative``, or ``by definition`` where the backward is chosen and is not the derivative of the
            forward (straight-through estimators, ``nn.Embedding(padding_idx=)``). Nothing is held against differences
            then; strategies' gradients are held against the reference's, and so are the derivatives of these.
        first_layer: whether its inputs are data in a model, as an embedding's or a first convolution's are: a ``step``
            then leaves their gradients out.
    """

    title: str = ""
    formula: str = ""
    inputs: Mapping[str, Operand]
    parameters: Mapping[str, Operand]
    output: tuple[str, ...]
    check: tuple[Dims, ...]
    sizes: Mapping[str, Mapping[str, tuple[Dims, ...]]] = field(default_factory=dict)
    cost: Callable[[str, Dims], Cost] | None = None
    task: Task | None = None
    reference: str = "autograd"
    leading: str = ""
    causal: str = ""
    options: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    gradient: Literal["derivative", "by definition"] = "derivative"
    nonfinite: Literal["free", "as reference"] = "free"
    first_layer: bool = False

    def __post_init__(self) -> None:
        self._check_kinds()
        one_of("gradient", (self.gradient,), ("derivative", "by definition"))
        one_of("nonfinite", (self.nonfinite,), ("free", "as reference"))
        if not self.parameters:
            raise ValueError(
                "a layer needs at least one parameter: give it one that it can do without, such as a scale"
            )
        for name in (*self.inputs, *self.parameters):
            if not name.isidentifier():
                raise ValueError(f"operand {name!r}: not a Python name, and forwards are called by name")
        both = set(self.inputs) & set(self.parameters)
        if both:
            raise ValueError(f"{', '.join(sorted(both))}: both an input and a parameter")
        if isinstance(self.output, str):
            raise ValueError(f"output {self.output!r}: give a tuple, such as ({self.output!r},)")
        self._check_dims()
        if not all(o.differentiable for o in self.parameters.values()):
            raise ValueError("a parameter that is not differentiable cannot be trained: make it an input")
        if not 1 <= len(self.check) <= 3:
            raise ValueError(f"check has {len(self.check)} sizes: give one to three")
        if self.leading and not all(self.leading == o.names[0] for o in self.leading_inputs.values()):
            raise ValueError(f"leading {self.leading!r} must be the first dim of each input that has it")
        if self.leading and not (self.leading_inputs and self.leading not in self.output[1:]):
            raise ValueError(
                f"leading {self.leading!r} must be a dim of an input, and first in the output if it is there"
            )
        if self.leading and any(self.leading in o.names for o in self.parameters.values()):
            raise ValueError(f"leading {self.leading!r}: a parameter has it, so it cannot be any number")
        if self.causal and self.causal not in self.output:
            raise ValueError(f"causal {self.causal!r} must be a dim of the output")
        if not self.sizes:
            largest = max(self.check, key=lambda dims: math.prod(dims.values()))
            profiles = dict.fromkeys(("quick", "default", "full"), (largest,))
            object.__setattr__(self, "sizes", {"cpu": profiles, "cuda": profiles})

    @staticmethod
    def of_module(
        module: Callable[..., nn.Module],
        inputs: Mapping[str, Operand | tuple[str, ...]],
        state: Mapping[str, Tensor] | None = None,
        **more: Any,
    ) -> Layer:
        """A layer whose parameters and buffers are those of an ``nn.Module``; see ``modules.layer_of``."""
        from harness.layers.modules import layer_of

        return layer_of(module, inputs, state, **more)

    @property
    def stated(self) -> tuple[Dims, ...]:
        """All sizes that the layer states: for the gate, for its task, to measure."""
        measured = [d for profiles in self.sizes.values() for all_dims in profiles.values() for d in all_dims]
        return (*self.check, *([self.task.dims] if self.task else []), *measured)

    def possible(self, dims: Dims) -> bool:
        """Whether the layer can have these sizes."""
        try:
            return all(min(o.sizes(dims), default=0) >= 0 for o in self.operands.values())
        except ImpossibleDimsError:
            return False

    def work(self, dims: Dims) -> int:
        """Operations of a forward, so that what is checked stays small: stated, or a multiply-add for each
        combination of indices."""
        return self.cost("forward", dims).flops if self.cost else 2 * math.prod(dims.values())

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task's loss; without a task the mean squared error."""
        return self.task.loss(output, target) if self.task else (output - target).square().mean()

    def _check_kinds(self) -> None:
        """Raise ValueError where a field is not of the kind that is read from it."""
        for name in ("inputs", "parameters", "sizes", "options"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} is a {type(getattr(self, name)).__name__}: give a dict")
        if not isinstance(self.check, tuple | list) or not all(isinstance(dims, Mapping) for dims in self.check):
            raise ValueError("check must be a tuple of sizes, such as ({'N': 7, 'D': 13},): mind the comma")
        for device, profiles in self.sizes.items():
            if device not in ("cpu", "cuda") or not isinstance(profiles, Mapping):
                raise ValueError("sizes must be a dict of dicts: {'cpu': {'quick': ({'N': 7, 'D': 13},)}}")
        if not isinstance(self.first_layer, bool):
            raise ValueError(
                f"first_layer {self.first_layer!r}: give True where the inputs are data, else leave it out"
            )
        if self.task is not None and not isinstance(self.task, Task):
            raise ValueError(f"task is a {type(self.task).__name__}: give a Task(...)")

    def _check_dims(self) -> None:
        """Raise ValueError where the name or a value of a size or an option is not as it must be."""
        sizes = {name for o in self.operands.values() for name in o.names} | set(self.output)
        if any(callable(o.shape) for o in self.operands.values()):  # it may want more than any shape names
            sizes |= set(self.check[0] if self.check else ()) - set(self.options)
        for name in sorted(sizes):
            if name.islower():
                raise ValueError(f"dim {name!r}: lower case is for options, so call it {name.upper()!r}")
        for name, values in self.options.items():
            if not (name.isidentifier() and name.islower()) or name in self.operands:
                raise ValueError(f"option {name!r}: give it a Python name in lower case that no operand has")
            if not values or not all(type(v) is int for v in values) or len(set(values)) < len(values):
                raise ValueError(f"option {name}: give the whole numbers that it may be, each once, such as (0, 1)")
        names = sizes | set(self.options)
        for dims in self.stated:
            if set(dims) != names:
                raise ValueError(f"dims {dict(dims)} must name each of {', '.join(sorted(names))}, and nothing else")
            if odd := [name for name in sizes if not isinstance(dims[name], int)]:
                raise ValueError(f"dims {dict(dims)}: {odd[0]} is {dims[odd[0]]!r}, give a whole number")
            for name, values in self.options.items():
                if type(dims[name]) is not int or dims[name] not in values:
                    known = ", ".join(map(str, values))
                    raise ValueError(f"dims {dict(dims)}: {name} is {dims[name]!r}, choose from {known}")
        for name, values in self.options.items():
            for value in values:
                if self.check and all(dims[name] != value for dims in self.check):
                    raise ValueError(f"check has no size with {name}={value}: the gate must meet each value")

    @property
    def leading_inputs(self) -> dict[str, Operand]:
        """The inputs that have the leading dim."""
        return {name: o for name, o in self.inputs.items() if self.leading in o.names}

    @property
    def has_samples(self) -> bool:
        """Whether its leading dim counts samples that can go one by one: every input has it, and the output."""
        return bool(self.leading) and self.leading in self.output and len(self.leading_inputs) == len(self.inputs)

    @property
    def operands(self) -> dict[str, Operand]:
        """Inputs and parameters by name, in the order of the forward's arguments."""
        return {**self.inputs, **self.parameters}


@dataclass(frozen=True)
class Strategy:
    """One way to implement a layer. The last statement of its file is ``strategy = Strategy(...)``.

    Attributes:
        forward: a function of the layer's inputs, parameters and options by name (a plain one, the ``apply`` of a
            ``torch.autograd.Function``, a custom op), or an ``nn.Module`` class, bare or in ``functools.partial``,
            built from those of the layer's dims and options that its constructor names (``hidden`` gets the dim
            HIDDEN), whose parameters have the layer's names (a dot in a name is an underscore) and whose buffers are
            inputs or its own business.
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
        own_graphs: whether it replays CUDA graphs of its own: it cannot be part of another one, so there is no
            ``device_hot`` time of it, and what its graphs hold is not among the bytes that torch counts.
        limits: checks of what it does not offer (``double_backward``, ``compile``, …; all of them in limits.py). They
            are asked all the same and shown as limits, never as wrong; no requirement of a user counts as met by them.
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
    own_graphs: bool = False
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.forward):
            raise ValueError("forward must be a function or an nn.Module class")
        if hasattr(self.forward, "load_state_dict") and not inspect.isclass(self.forward):
            raise ValueError("forward is a module that is built already: give its class, which the harness builds")
        if not isinstance(self.simplicity, int):
            raise ValueError(f"simplicity {self.simplicity!r}: give a whole number, lower is simpler")
        one_of("gradients", (self.gradients,), ("tape", "func"))
        one_of("devices", self.devices, ("cpu", "cuda"))
        one_of("dtypes", self.dtypes, ("float64", "float32", "bfloat16", "float16"))
        one_of("needs", self.needs, ("compiler", "triton"), some=False)
        one_of("limits", self.limits, LIMITS, some=False)
