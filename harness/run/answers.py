"""The answers that timed calls gave, held against what they should have been by the gate's rule.

A call's answer is judged by the contents and the weights of that very call. Several are judged together, and the
largest error of one is held against the bound of all: the luck of one draw, where the reference itself is nearly
right, moves it little.

It must be able to tell. So the answers that a cache would give are held against the same bounds: the answer of another
call (what was kept by address, version, or from the call before), and that to the same contents with the weights of
another round (what was kept by contents, or by some of them). Each must exceed its bound clearly in one judged call at
least, where it differs at all; else more are judged, and where that does not help either the pass has no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors
from harness.layers.spec import Dims, Layer, Strategy
from harness.measure.draws import Draws, Judged, Visit
from harness.measure.passes import ready
from harness.records.schema import LOOPED
from harness.verify.oracle import RETRY_BELOW, Pool

WHOLE = "forward_backward"
STALE = ("the answer of another call", "the answer with another round's weights")


@dataclass(frozen=True)
class Truth:
    """What the reference answers in its dtype (``peers``) and in float64 (``oracle``): the elements that are judged."""

    peers: list[Tensor]
    oracle: list[Tensor]


def names_of(layer: Layer, passed: str) -> list[str]:
    """The tensors of a pass's answer, in order."""
    output, gradients = ["output"], [f"gradient of {n}" for n, o in layer.operands.items() if o.differentiable]
    if passed in ("forward", "inference"):
        return output
    if passed == "backward":
        return gradients
    of_parameters = [f"gradient of {n}" for n, o in layer.parameters.items() if o.differentiable]
    if passed in LOOPED:
        return of_parameters
    return [*output, *(of_parameters if passed == "step" and layer.first_layer else gradients)]


class TimedAnswers:
    """Judges the timed answers of a group.

    Args:
        reference: the layer's.
        dtype: of the group.
    """

    def __init__(self, layer: Layer, reference: Strategy, dims: Dims, dtype: torch.dtype, draws: Draws) -> None:
        self._layer, self._reference, self._dims, self._dtype, self._draws = layer, reference, dims, dtype, draws
        self._truths: dict[tuple[str, int, int], Truth] = {}

    def ratios(self, passed: str, visits: Sequence[Visit]) -> dict[str, float]:
        """By tensor: the largest error of a judged call ÷ its bound; at most 1 is right, from 3 on it is no bad luck.

        Raises:
            UnusableYardstickError: the reference or the oracle is not finite there.
        """
        truths, answers = [], []
        for visit in visits:
            if visit.judged is None or visit.kept is None:
                raise RuntimeError("a timed call that was to be judged left no answer")
            truths.append(self._truth(passed, visit.judged, visit.judged, visit.weights))
            answers.append(visit.kept)
        return dict(zip(names_of(self._layer, passed), _ratios(answers, truths, self._dtype), strict=True))

    def unseen(self, passed: str) -> str:
        """Which stale answer would pass for right in a pass, even where more calls are judged; or nothing.

        Raises:
            UnusableYardstickError: see ``ratios``.
        """
        blind = self._unseen(passed)
        if blind:
            self._draws.judge_more()
            blind = self._unseen(passed)
        return blind

    def _unseen(self, passed: str) -> str:
        judged = self._draws.judged
        after = [*judged[1:], judged[0]]
        truths = [self._truth(passed, one, one) for one in judged]
        others = [truths[1:] + truths[:1]]
        if self._layer.parameters:
            others.append([self._truth(passed, one, other) for one, other in zip(judged, after, strict=True)])
        for what, stale in zip(STALE, others, strict=False):
            answers = [each.oracle for each in stale]
            same = all(
                torch.equal(a, t) for own, true in zip(answers, truths, strict=True)
                for a, t in zip(own, true.oracle, strict=True)
            )  # fmt: skip
            if not same and max(_ratios(answers, truths, self._dtype)) < RETRY_BELOW:
                return what
        return ""

    def _truth(self, passed: str, judged: Judged, weights: Judged, own: Tensors | None = None) -> Truth:
        """The reference's answers to the contents of a judged call with some round's weights, or a strategy's own."""
        whole = passed if passed in LOOPED else WHOLE
        key = (whole, judged.number, weights.number)
        values = self._draws.values(judged, weights)
        if own is not None:
            found = self._answered(whole, judged, Values(**{**vars(values), "parameters": own}))
        elif key in self._truths:
            found = self._truths[key]
        else:
            found = self._truths[key] = self._answered(whole, judged, values)
        names, wanted = names_of(self._layer, whole), names_of(self._layer, passed)
        places = [names.index(name) for name in wanted]
        return Truth([found.peers[i] for i in places], [found.oracle[i] for i in places])

    def _answered(self, passed: str, judged: Judged, values: Values) -> Truth:
        found = []
        for given in (values, values.to(torch.float64)):
            call = ready(self._layer, self._reference, self._dims, given).calls[passed]
            found.append(judged.thinned(call.answer(call.run(call.prepare()))))
        return Truth(*found)


def _ratios(answers: Sequence[list[Tensor]], truths: Sequence[Truth], dtype: torch.dtype) -> list[float]:
    """Of each tensor: the largest distance of an answer from the truth ÷ what is allowed, on average, over all."""
    found = []
    for place in range(len(truths[0].oracle)):
        pool, worst = Pool(dtype), 0.0
        for answer, truth in zip(answers, truths, strict=True):
            peer, oracle = truth.peers[place], truth.oracle[place]
            pool.add(peer, peer, oracle)
            worst = max(worst, _distance(answer, place, oracle))
        allowed = pool.bound / math.sqrt(len(truths))
        found.append(0.0 if worst == 0 else worst / allowed if allowed > 0 else math.inf)
    return found


def _distance(answer: list[Tensor], place: int, oracle: Tensor) -> float:
    """Infinite where a tensor is missing, of another size, or holds a NaN."""
    if place >= len(answer) or answer[place].shape != oracle.shape:
        return math.inf
    squares = (answer[place].double() - oracle).square().sum().item()
    return math.inf if math.isnan(squares) else math.sqrt(squares)
