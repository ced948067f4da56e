"""Between the one that judges and the strategy that is judged: what is claimed, what is asked, how it can fail.

The judge never imports a strategy. It asks a *subject*: in a run that is another process (run/subject.py), in a test it
may be the same one (``Local``).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from harness.layers.calling import module_class, refuse_arguments
from harness.layers.drawing import Values
from harness.layers.gradients import MissingGradientError
from harness.layers.spec import Dims, Layer, Strategy
from harness.records.schema import Status
from harness.verify.interpreting import not_interpreted
from harness.verify.probes import Answer, Probe, WrongAnswerError
from harness.verify.tuners import configurations
from harness.verify.wasteful import WastefulError


@dataclass(frozen=True)
class Claims:
    """Statements of a strategy about itself, as far as the gate needs them; see ``tuners.configurations``."""

    gradients: str
    dtypes: tuple[str, ...]
    needs: tuple[str, ...]
    kernels: tuple[str, ...]
    dead_backward: bool = False
    limits: tuple[str, ...] = ()
    configurations: int = 0

    @property
    def working_dtype(self) -> str:
        """The dtype to train and to look closely in: float32, or the first that is claimed."""
        return "float32" if "float32" in self.dtypes else self.dtypes[0]

    @property
    def sharpest_dtype(self) -> str:
        """The dtype in which a wrong formula shows best."""
        return "float64" if "float64" in self.dtypes else self.working_dtype


def claims_of(strategy: Strategy) -> Claims:
    """What the gate needs to know of a strategy."""
    dead = callable(getattr(module_class(strategy.forward), "backward", None))
    kernels = tuple(dict.fromkeys(k.name for k in strategy.kernels))
    return Claims(
        strategy.gradients, strategy.dtypes, strategy.needs, kernels, dead, strategy.limits, configurations(strategy)
    )


class StrategyError(Exception):
    """A strategy raised: the status that this means, and one line about it."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Asked(Protocol):
    """Whoever answers for a strategy."""

    def ask(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> Answer:
        """Run a probe.

        Raises:
            WrongAnswerError: an answer that is wrong whatever its numbers.
            WastefulError: one that is right, and wastes something.
            StrategyError: the strategy raised.
        """
        ...


@dataclass(frozen=True)
class Local:
    """A strategy in this very process."""

    layer: Layer
    strategy: Strategy

    def ask(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> Answer:
        """See ``Asked``."""
        return answer(self.layer, self.strategy, probe, dims, values, options)


def answer(
    layer: Layer, strategy: Strategy, probe: Probe, dims: Dims, values: Sequence[Values], options: dict[str, Any]
) -> Answer:
    """Run a probe, and put what it raises into the two forms of ``Asked``; a probe that wants the layer gets it."""
    device = values[0].cotangent.device.type
    if "layer" in inspect.signature(probe).parameters:
        options = {**options, "layer": layer}
    try:
        refuse_arguments(layer, strategy)
        found = probe(strategy, dims, values, **options)
    except (WrongAnswerError, WastefulError):
        raise
    except MissingGradientError as error:
        raise WrongAnswerError(error.tensor, str(error)) from None
    except Exception as error:
        raise StrategyError(*status_of(error)) from error
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            raise WrongAnswerError(name, f"is a {type(tensor).__name__}, not a tensor")
        if tensor.device.type != device and tensor.dim():
            raise WrongAnswerError(name, f"device is {tensor.device.type}, not {device}")
        if tensor.layout != torch.strided:
            raise WrongAnswerError(name, f"layout is {str(tensor.layout).removeprefix('torch.')}: give a dense tensor")
    return found


def status_of(error: BaseException) -> tuple[Status, str]:
    """Which status an exception means, and one line about it."""
    text = f"{type(error).__name__}: {error}".strip()
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    line = line.replace(str(Path.home()), "~")[:300]
    if wanting := not_interpreted(error):
        return "unsupported", f"not run here: Triton's interpreter cannot do what a kernel asks for: {wanting}"[:300]
    home = type(error).__module__
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
        return "oom", line
    if home.startswith(("torch._dynamo", "torch._inductor", "triton.compiler")):
        return "compile_error", line
    return "runtime_error", line
