"""A layer's training task: real data, a loss, and what must be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from harness.layers.spec import Dims


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
