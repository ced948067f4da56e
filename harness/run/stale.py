"""The meter's planted faults: strategies that answer from what they have kept; they must be refused when timed.

They are right at their first call, and to what they were given when they kept an answer. They are timed as any strategy
is, through the sampler. A fault that finds nothing it has kept answers truly: it gains nothing, and is no fault there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.layers.drawing import draw
from harness.layers.spec import Dims, Layer, Strategy
from harness.measure.clock import Clock, CpuClock
from harness.measure.draws import Draws
from harness.measure.passes import ready
from harness.measure.sampler import Arm, sample
from harness.records.meter import Proof, proof
from harness.records.modes import PASSES
from harness.run.answers import TimedAnswers
from harness.verify.controls import dense_layer
from harness.verify.oracle import RETRY_BELOW

DIMS: Dims = {"B": 12, "I": 8, "O": 8}
BUDGET, SAMPLE_SECONDS = 0.01, 2e-4
"""Seconds for the rounds of a trial and for a sample: no time is compared."""
FINGERPRINT = 1000
"""Elements of a tensor that are looked at, evenly spaced."""

Key = Callable[[Sequence[Tensor], Sequence[Tensor]], object]
"""Where an answer is kept, by what changes with each call (inputs, cotangent) and by the weights."""


class Kept:
    """Answers that are kept by a key, and how often one was given again.

    Args:
        late: each call gives the answer of the one before.
    """

    def __init__(self, key: Key, late: bool = False) -> None:
        self._key, self._late, self._answers = key, late, dict[object, tuple[Tensor, ...]]()
        self.used = 0

    def __call__(
        self, what: str, data: Sequence[Tensor], weights: Sequence[Tensor], true: Callable[[], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """The answer kept under the key; where there is none, or it is late, the true answer is kept from now on."""
        key = (what, *(t.shape for t in data), self._key(data, weights))
        found = self._answers.get(key)
        if found is None or self._late:
            self._answers[key] = tuple(t.detach().clone() for t in true())
        self.used += found is not None
        return tuple(t.clone() for t in found or self._answers[key])


def by_version(data: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
    """A key of addresses and versions."""
    return tuple((t.data_ptr(), t._version) for t in (*data, *weights))


def by_data(data: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
    """A key of a thousand elements of each tensor that changes with the calls."""
    return tuple(_fingerprint(t) for t in data)


def by_data_and_weights(data: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
    """The same of the weights too."""
    return by_data((*data, *weights), ())


def _fingerprint(tensor: Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, len(flat) // FINGERPRINT)].cpu().contiguous().view(torch.uint8).numpy().tobytes()


FAULTS: dict[str, tuple[Callable[[], Kept], int]] = {
    "the previous answer": (lambda: Kept(lambda data, weights: None, late=True), len(PASSES)),
    "dict by address and version": (lambda: Kept(by_version), len(PASSES) - 1),
    "fingerprint of 1,000 elements": (lambda: Kept(by_data), len(PASSES)),
    "fingerprint of 1,000 elements, weights too": (lambda: Kept(by_data_and_weights), 0),
}
"""With the number of passes in which each finds answers that it has kept, and must be refused: a step moves the version
of the weights by itself, and the same contents and weights never come again."""


def dense_from(kept: Kept) -> Strategy:
    """The dense layer of the gate's planted faults, output and gradients from what is kept."""

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return kept("output", [x], [weight, bias], lambda: (dense_layer.forward(x, weight, bias),))[0]

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        def true() -> tuple[Tensor, ...]:
            return dense_layer.slopes(g, x, weight, dense_layer.forward(x, weight, bias))

        found = kept("gradients", [x, g], [weight, bias], true)
        return tuple(s if need else None for s, need in zip(found, ctx.needs_input_grad, strict=True))

    return dense_layer.by_hand(backward, forward)


def worst(
    layer: Layer, reference: Strategy, strategy: Strategy, dims: Dims, passed: str, clock: Clock, dtype: torch.dtype
) -> float:
    """Time a strategy and judge its timed answers: the largest error ÷ bound."""
    values = draw(layer, dims, dtype, "cpu", 0)
    draws = Draws(layer, dims, values, 0)
    answers = TimedAnswers(layer, reference, dims, dtype, draws)
    answers.unseen(passed)  # judges more where that is needed
    arm = Arm("planted", False, ready(layer, strategy, dims, values, draws).calls[passed])
    (one,), _ = sample([arm], clock, BUDGET, random.Random(passed), sample_seconds=SAMPLE_SECONDS, draws=draws)
    return max(answers.ratios(passed, one.judged).values())


def stale_answers(clock: Callable[[], Clock] = CpuClock, passes: Sequence[str] = PASSES) -> Iterator[Proof]:
    """Each planted fault: in how many passes it is refused, and in how many it is not though it gave a kept answer."""
    for name, (fault, expected) in FAULTS.items():
        refused = missed = 0
        for passed in passes:
            kept = fault()
            far = worst(
                dense_layer.layer, dense_layer.reference, dense_from(kept), DIMS, passed, clock(), torch.float32
            )
            refused += far >= RETRY_BELOW
            missed += kept.used > 0 and far < RETRY_BELOW
        yield proof("stale answers", f"{name}: passes refused, of {len(passes)}", refused, expected, expected, "count")
        yield proof("stale answers", f"{name}: passes in which a kept answer went through", missed, 0, 0, "count")
