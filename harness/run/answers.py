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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from harness.layers.drawing import Values, draw
from harness.layers.gradients import Tensors
from harness.layers.spec import Dims, Layer, Strategy
from harness.measure.draws import Draws, Judged, Visit
from harness.measure.passes import Ready, ready
from harness.records.modes import LOOPED
from harness.verify.oracle import DRAWS, LOST, RETRY_BELOW, Pool
from harness.verify.probes import Answer
from harness.verify.reference import Question, Yardstick

WHOLE = "forward_backward"
STALE = ("the answer of another call", "the answer with another round's weights")


@dataclass(frozen=True)
class Truth:
    """Answers of the reference in its dtype (``peers``) and in float64 (``oracle``): the elements that are judged.

    ``terms`` gives the norm of what each is added up from, which is asked only where an answer strays.
    """

    peers: list[Tensor]
    oracle: list[Tensor]
    terms: Callable[[], list[float]]


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


def answer_of(strategy: Strategy, dims: Dims, values: Sequence[Values], layer: Layer, passed: str) -> Answer:
    """The answer of one call of a pass, by the names of reports."""
    call = ready(layer, strategy, dims, values[0]).calls[passed]
    return dict(zip(names_of(layer, passed), call.answer(call.run(call.prepare())), strict=True))


class TimedAnswers:
    """Judges the timed answers of a group.

    Args:
        reference: the layer's.
        dtype: of the group.
    """

    def __init__(self, layer: Layer, reference: Strategy, dims: Dims, dtype: torch.dtype, draws: Draws) -> None:
        self._layer, self._dims, self._dtype, self._draws = layer, dims, dtype, draws
        self._yardstick = Yardstick(reference)
        self._truths: dict[tuple[str, int, int], Truth] = {}
        self._others: dict[tuple[str, int], tuple[Values, Truth]] = {}
        self._unique = count()

    def ratios(self, passed: str, visits: Sequence[Visit]) -> dict[str, float]:
        """The largest error of a judged call, by tensor, ÷ its bound; at most 1 is right, from 3 on it is no bad luck.

        Raises:
            UnusableYardstickError: the reference or the oracle is not finite there.
            UnsoundLayerError: the reference raised.
        """
        truths, answers = [], []
        for visit in visits:
            if visit.judged is None or visit.kept is None:
                raise RuntimeError("a timed call that was to be judged left no answer")
            truths.append(self._truth(passed, visit.judged, visit.judged, visit.weights))
            answers.append(visit.kept)
        return dict(zip(names_of(self._layer, passed), _ratios(answers, truths, self._dtype), strict=True))

    def worst_afterwards(self, made: Ready, passed: str, seed: int) -> tuple[str, float]:
        """A tensor and its error ÷ bound, pooled over draws, for other values in the very tensors that were timed.

        Args:
            passed: forward_backward, whose answers speak for all passes but the looped ones, or one of these.
            seed: of the group's values.
        """
        names = names_of(self._layer, passed)
        pools = {name: Pool(self._dtype) for name in names}
        truths: list[Truth] = []
        worst = ("", 0.0)
        for number in range(1, DRAWS + 1):
            values, truth = self.other(passed, number, seed)
            truths.append(truth)
            made.refill(values)
            call = made.calls[passed]
            answers = call.answer(call.run(call.prepare()))
            for name, mine, peer, true in zip(names, answers, truth.peers, truth.oracle, strict=True):
                pools[name].add(mine, peer, true)
            ratios = [
                _held(pools[name].error, pools[name], pools[name].norm_ratio(), truths, place)
                for place, name in enumerate(names)
            ]
            worst = max(zip(names, ratios, strict=True), key=lambda pair: pair[1])
            if worst[1] <= 1 or worst[1] >= RETRY_BELOW:
                break
        return worst

    def unseen(self, passed: str) -> str:
        """The stale answer that would pass for right in a pass, even where more calls are judged; or nothing.

        Raises:
            UnusableYardstickError, UnsoundLayerError: see ``ratios``.
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
            found = self._answered(whole, replace(values, parameters=own), judged)
        elif key in self._truths:
            found = self._truths[key]
        else:
            found = self._truths[key] = self._answered(whole, values, judged)
        names, wanted = names_of(self._layer, whole), names_of(self._layer, passed)
        places = [names.index(name) for name in wanted]
        return Truth(
            [found.peers[i] for i in places], [found.oracle[i] for i in places],
            lambda: [terms[i] for terms in (found.terms(),) for i in places],
        )  # fmt: skip

    def other(self, passed: str, number: int, seed: int) -> tuple[Values, Truth]:
        """Values that no timed call has read, and the truth of them; kept for the next strategy."""
        if (passed, number) not in self._others:
            values = draw(self._layer, self._dims, self._dtype, self._draws.device, seed + number)
            self._others[passed, number] = values, self._answered(passed, values)
        return self._others[passed, number]

    def _answered(self, passed: str, values: Values, judged: Judged | None = None) -> Truth:
        """The truth of some values, of a judged call the elements that are judged."""
        question = Question("timed", answer_of, truth_options={"layer": self._layer, "passed": passed})
        asked = (question, self._dims, str(self._dtype).removeprefix("torch."), (next(self._unique),), [values])
        peers, oracle = (list(answer.values()) for answer in self._yardstick.answers(*asked))
        sizes = [t.numel() for t in oracle]
        if judged is not None:
            peers, oracle = judged.thinned(peers), judged.thinned(oracle)

        def terms() -> list[float]:
            norms = self._yardstick.terms(*asked).values()
            kept = zip(norms, oracle, sizes, strict=True)
            return [norm * math.sqrt(t.numel() / size) if size else 0.0 for norm, t, size in kept]

        return Truth(peers, oracle, terms)


def _ratios(answers: Sequence[list[Tensor]], truths: Sequence[Truth], dtype: torch.dtype) -> list[float]:
    """The largest distance of an answer from the truth ÷ what is allowed on average over all, for each tensor."""
    found = []
    for place in range(len(truths[0].oracle)):
        pool, worst = Pool(dtype), 0.0
        for answer, truth in zip(answers, truths, strict=True):
            peer, oracle = truth.peers[place], truth.oracle[place]
            pool.add(peer, peer, oracle)
            worst = max(worst, _distance(answer, place, oracle))
        far = worst * math.sqrt(len(truths))  # as if all were as far off
        ratio = 0.0 if worst == 0 else far / pool.bound if pool.bound > 0 else math.inf
        found.append(_held(far, pool, ratio, truths, place))
    return found


def _held(error: float, pool: Pool, ratio: float, truths: Sequence[Truth], place: int) -> float:
    """Error ÷ bound of a tensor; where its terms all but cancel (see terms.py) it is held to their size."""
    if not ratio > 1:
        return ratio
    size = math.sqrt(sum(truth.terms()[place] ** 2 for truth in truths))
    return error / pool.bound_for(size) if pool.eps * size > LOST * pool.size else ratio


def _distance(answer: list[Tensor], place: int, oracle: Tensor) -> float:
    """Infinite where a tensor is missing, of another size, or holds a NaN."""
    if place >= len(answer) or answer[place].shape != oracle.shape:
        return math.inf
    squares = (answer[place].double() - oracle).square().sum().item()
    return math.inf if math.isnan(squares) else math.sqrt(squares)
