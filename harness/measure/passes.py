"""What one call of each pass is.

``forward`` records what a later backward needs; ``inference`` does not. ``backward`` runs on a fresh graph each time
(``retain_graph=True`` makes it look 2–4 % too fast) and accumulates nothing. ``forward_backward`` gives the gradients
of all inputs and parameters. ``step`` is what a layer costs inside a model: forward, a given cotangent, the gradients
of all inputs and parameters, and one plain in-place update of the parameters, the same for every strategy; the inputs
of a layer that says ``first_layer`` are data and get no gradient in it. The loss is no part of a layer.

Each timed call reads contents of its own (see draws.py), written before its forward.

``per_sample`` gives the parameters' gradients for each sample of a batch by itself, where the layer has samples;
``ensemble`` those of several models on the same inputs. What a user would have to do for them is what is timed: one
``vmap`` of ``grad`` where gradients are values, a loop in Python where they go through the tape; stacked either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors, build, of_each_model, of_each_sample, step, vjp
from harness.layers.spec import Dims, Layer, Strategy
from harness.measure.draws import Draws
from harness.measure.operands import Buffers, Operands, Same

STEP_SIZE = 1e-9
"""Learning rate of the timed step: small, so that thousands of steps leave the parameters about where they are."""

MODELS, APART = 8, 1 / 64
"""Of an ensemble: how many models, and by what share of the first one's parameters each next one's are larger."""


def _nothing(returned: Any) -> list[Tensor]:
    return []


@dataclass(frozen=True)
class Call:
    """One call of a pass: ``prepare`` is not timed, ``run`` is; what it returns is let go after the clock stops.

    Attributes:
        operands: what the calls read; its contents are written before each call, or batch of calls.
        answer: the tensors that an answer consists of, of what ``run`` returned.
        reads: how many of the contents (see draws.py) it reads: the inputs, or those with the cotangent.
        undo: where a call changes the weights: those that it read, of what it returned, when no other has followed.
    """

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]
    operands: Same = field(default_factory=Same)
    answer: Callable[[Any], list[Tensor]] = _nothing
    reads: int = 0
    undo: Callable[[Any], Tensors] | None = None

    def write(self, n: int) -> None:
        """Write new contents for the next n calls."""
        self.operands.write(n, self.reads, again=self.undo is not None)

    def done(self, returned: Sequence[Any]) -> None:
        """Take what the last calls returned; no clock runs."""
        self.operands.done(self, returned)


@dataclass(frozen=True)
class Ready:
    """A strategy ready to be called.

    Attributes:
        calls: by pass; ``per_sample`` only where the layer has samples.
        refill: writes other values over the very tensors that the calls use, as a training loop does.
    """

    calls: dict[str, Call]
    refill: Callable[[Values], None]


def ready(layer: Layer, strategy: Strategy, dims: Dims, values: Values, draws: Draws | None = None) -> Ready:
    """Every pass of a strategy, on copies of the values and parameters of its own.

    Args:
        draws: what timed calls read; without, they read the values at each time.
    """
    instance = build(strategy, dims, values.parameters)
    models: list[Tensors] = []

    def weigh(parameters: Tensors, moves: bool) -> None:
        several = _models(parameters) if models else []
        for own, new in zip((instance.parameters, *models), (parameters, *several), strict=True):
            tensors = [p.detach() if moves else p.data for p in own.values()]
            if tensors:
                torch._foreach_copy_(tensors, [new[name].detach() for name in own])

    operands = Operands(values, weigh, draws)
    following = operands.next

    def several() -> Buffers:
        if not models:  # eight times the parameters, so only where they are wanted
            models.extend({n: p.requires_grad_() for n, p in model.items()} for model in _models(instance.parameters))
        return following()

    def forward(b: Buffers) -> Any:
        return vjp(instance, b.leaves)

    def inference(b: Buffers) -> Any:
        with torch.no_grad():
            return instance.call(instance.parameters, b.data)

    def before_backward() -> Any:
        b = following()
        return *vjp(instance, b.leaves), b.cotangent

    def forward_backward(b: Buffers) -> Any:
        output, pullback = vjp(instance, b.leaves)
        return output, pullback(b.cotangent)

    def a_step(b: Buffers) -> Any:
        return step(instance, b.data if layer.first_layer else b.leaves, b.cotangent, STEP_SIZE)

    def before_step(returned: Any) -> Tensors:
        own = instance.parameters
        pairs = zip(own.items(), returned[1][-len(own) :], strict=True)
        return {name: p.detach() + STEP_SIZE * g for (name, p), g in pairs}

    def both(returned: Any) -> list[Tensor]:
        return [returned[0], *returned[1]]

    inputs = len(values.inputs)
    with_cotangent = inputs + 1

    def looped(run: Callable[[Buffers], list[Tensor]], prepare: Callable[[], Buffers] = following) -> Call:
        return Call(prepare, run, operands, list, with_cotangent)

    by_pass = {
        "forward": Call(following, forward, operands, lambda made: [made[0]], inputs),
        "inference": Call(following, inference, operands, lambda output: [output], inputs),
        "backward": Call(before_backward, lambda made: made[1](made[2]), operands, list, with_cotangent),
        "forward_backward": Call(following, forward_backward, operands, both, with_cotangent),
        "step": Call(following, a_step, operands, both, with_cotangent, before_step),
        "ensemble": looped(lambda b: of_each_model(instance, models, b.data, b.cotangent), several),
    }  # fmt: skip
    if layer.has_samples:
        by_pass["per_sample"] = looped(lambda b: of_each_sample(instance, b.data, b.cotangent))
    return Ready(by_pass, operands.refill)


def _models(parameters: Tensors) -> list[Tensors]:
    """Parameters of an ensemble, the first one's those that are given."""
    return [{n: p.detach() * (1 + k * APART) for n, p in parameters.items()} for k in range(MODELS)]
