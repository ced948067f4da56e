"""What one call of each pass is.

``forward`` records what a later backward needs; ``inference`` does not. ``backward`` runs on a fresh graph each time
(``retain_graph=True`` makes it look 2–4 % too fast) and accumulates nothing. ``forward_backward`` gives the gradients
of all inputs and parameters. ``step`` is what a layer costs inside a model: forward, a given cotangent, the gradients
of all inputs and parameters, and one plain in-place update of the parameters, the same for every strategy; the inputs
of a layer that says ``first_layer`` are data and get no gradient in it. The loss is no part of a layer.

``per_sample`` gives the parameters' gradients for each sample of a batch by itself, where the layer has samples;
``ensemble`` those of several models on the same inputs. What a user would have to do for them is what is timed: one
``vmap`` of ``grad`` where gradients are values, a loop in Python where they go through the tape; stacked either way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors, build, of_each_model, of_each_sample, step, vjp
from harness.layers.spec import Dims, Layer, Strategy

STEP_SIZE = 1e-9
"""Learning rate of the timed step: small, so that thousands of steps leave the parameters about where they are."""

MODELS, APART = 8, 1 / 64
"""Of an ensemble: how many models, and by what share of the first one's parameters each next one's are larger."""


@dataclass(frozen=True)
class Call:
    """One call of a pass: ``prepare`` is not timed, ``run`` is; what it returns is let go after the clock stops."""

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]


@dataclass(frozen=True)
class Ready:
    """A strategy ready to be called.

    Attributes:
        calls: by pass; ``per_sample`` only where the layer has samples.
        refill: writes other values over the very tensors that the calls use, as a training loop does.
    """

    calls: dict[str, Call]
    refill: Callable[[Values], None]


def ready(layer: Layer, strategy: Strategy, dims: Dims, values: Values) -> Ready:
    """Every pass of a strategy, on copies of the values and parameters of its own."""
    instance = build(strategy, dims, values.parameters)
    leaves = values.leaves()
    data = {name: x.clone() for name, x in values.inputs.items()}
    cotangent, below = values.cotangent.clone(), data if layer.first_layer else leaves
    models: list[Tensors] = []

    def nothing() -> None:
        return None

    def several() -> list[Tensors]:
        if not models:  # eight times the parameters, so only where they are wanted
            models.extend({n: p.requires_grad_() for n, p in model.items()} for model in _models(instance.parameters))
        return models

    def inference(_: None) -> Any:
        with torch.no_grad():
            return instance.call(instance.parameters, data)

    def forward_backward(_: None) -> Any:
        output, pullback = vjp(instance, leaves)
        return output, pullback(cotangent)

    def refill(other: Values) -> None:
        with torch.no_grad():
            for old, new in ((leaves, other.inputs), (data, other.inputs), (instance.parameters, other.parameters)):
                for name, tensor in old.items():
                    tensor.copy_(new[name])
            for model, changed in zip(models, _models(other.parameters), strict=False):  # there may be none yet
                for name, tensor in model.items():
                    tensor.copy_(changed[name])
            cotangent.copy_(other.cotangent)

    by_pass = {
        "forward": Call(nothing, lambda _: vjp(instance, leaves)),
        "inference": Call(nothing, inference),
        "backward": Call(lambda: vjp(instance, leaves), lambda made: made[1](cotangent)),
        "forward_backward": Call(nothing, forward_backward),
        "step": Call(nothing, lambda _: step(instance, below, cotangent, STEP_SIZE)),
        "ensemble": Call(several, lambda made: of_each_model(instance, made, data, cotangent)),
    }
    if layer.has_samples:
        by_pass["per_sample"] = Call(nothing, lambda _: of_each_sample(instance, data, cotangent))
    return Ready(by_pass, refill)


def _models(parameters: Tensors) -> list[Tensors]:
    """Parameters of an ensemble, the first one's those that are given."""
    return [{n: p.detach() * (1 + k * APART) for n, p in parameters.items()} for k in range(MODELS)]
