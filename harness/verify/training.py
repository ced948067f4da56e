"""Training on the layer's real data: the same curve as the reference's, and a stated target reached.

Every start draws the parameters anew; strategy, reference (same dtype) and oracle (the reference in float64) train
from the same rounded start on the same rounded data. Two questions are asked, a start being a draw:

* *Rounding.* Loss curves and final parameters are held to the error rule of oracle.py: full-batch descent on these
  tasks contracts, so rounding does not grow, and a strategy may stray at most twice as far from the oracle as plain
  autograd does. Only the norms are held to it: the rule for single elements rests on rounding being independent in
  each place, and along a curve it is not.
* *Equivalence.* Does it train alike? The mean paired difference to the reference over the starts, of the final loss,
  of the mean loss along the curve and of the steps to the target (losses as logarithms), is held against a margin: a
  hundredth of the standard deviation that the reference itself has from start to start, or twice its own distance from
  the oracle where that is larger. Two one-sided t-tests at 5 % (Schuirmann 1987): ``equivalent`` where the whole 90 %
  interval lies within the margin, ``different`` where it lies beyond, else ``inconclusive``. This finds a small bias
  that every single step in bfloat16 hides.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from harness.layers.drawing import Values, rounded
from harness.layers.gradients import build, loss_and_gradients
from harness.layers.spec import Dims, Layer, Operand, Strategy
from harness.layers.task import Example, Task
from harness.records.schema import Training
from harness.verify.judging import Subject
from harness.verify.oracle import RETRY_BELOW, Pool
from harness.verify.probes import Answer, WrongAnswerError
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError

CONFIDENCE = 0.90
FEWEST_STARTS = 3
"""An interval from fewer says next to nothing. Triton's interpreter, where each takes seconds, begins with these."""
MARGIN_IN_SPREADS, MARGIN_IN_ROUNDING = 0.01, 2.0


def trained(strategy: Strategy, dims: Dims, values: Sequence[Values], layer: Layer) -> Answer:
    """Full-batch SGD by ``torch.optim.SGD``, as a user would write it, from the parameters of each draw.

    With ``tape`` the gradients come by ``loss.backward()``; with ``func`` they are values, copied to ``.grad``.

    Returns:
        ``loss curve`` [starts, steps + 1], before each step and after the last; ``parameters`` [starts, all of them].
    """
    assert layer.task is not None
    task, like = layer.task, values[0].cotangent
    data: list[tuple[Mapping[str, Tensor], Tensor]] = [
        (
            {n: rounded(layer.inputs[n], x.to(like.device), like.dtype) for n, x in e.inputs.items()},
            e.target.to(like.device, like.dtype),
        )
        for e in task.examples()
    ]
    curves, ends = [], []
    for each in values:
        instance = build(strategy, dims, each.parameters)
        parameters = list(instance.parameters.values())
        optimizer = torch.optim.SGD(parameters, lr=task.learning_rate)
        losses = []
        for number in range(task.steps + 1):
            optimizer.zero_grad()
            if instance.gradients == "func":
                loss, gradients = loss_and_gradients(instance, data, task.loss)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
            else:
                loss = torch.stack([task.loss(instance.call(instance.parameters, x), y) for x, y in data]).sum()
                if number < task.steps:
                    loss.backward()
            losses.append(loss.detach().clone())
            if number < task.steps:
                optimizer.step()
        curves.append(torch.stack(losses))
        ends.append(torch.cat([p.detach().flatten() for p in parameters]))
    return {"loss curve": torch.stack(curves), "parameters": torch.stack(ends)}


def trained_wide(strategy: Strategy, dims: Dims, values: Sequence[Values], layer: Layer, dtype: str) -> Answer:
    """``trained`` in float64 on data that were rounded to ``dtype``: the oracle."""
    kind: torch.dtype = getattr(torch, dtype)
    assert layer.task is not None
    task = layer.task

    def examples() -> list[Example]:
        return [
            Example(
                {n: _wide(layer.inputs[n], x, kind) for n, x in e.inputs.items()},
                e.target.to(kind).double(),
            )
            for e in task.examples()
        ]

    return trained(strategy, dims, values, replace(layer, task=replace(task, examples=examples)))


def _wide(operand: Operand, x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input rounded to a dtype, in float64."""
    return rounded(operand, rounded(operand, x, dtype), torch.float64)


def _digest(parameters: Tensor) -> str:
    return hashlib.sha256(parameters.cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def check_training(subject: Subject, dtype: str, seed: int, starts: int, final: bool = False) -> Training:
    """Train from several starts and compare with reference and oracle; the record holds the first start's curve.

    What strays by less than three times, or stays inconclusive, is trained again from eight times as many starts, and
    that is ``final``.

    Raises:
        UnsoundLayerError: the reference itself diverges, or cannot be trained on the task's data.
    """
    task = subject.layer.task
    assert task is not None
    values = [subject.draw(task.dims, dtype, seed + s) for s in range(starts)]
    question = Question(
        "training", trained, trained_wide, trained, truth_options={"layer": subject.layer, "dtype": dtype},
        peer_options={"layer": subject.layer},
    )  # fmt: skip
    seeds = tuple(seed + s for s in range(starts))
    reference, oracle = subject.yardstick.answers(question, task.dims, dtype, seeds, values)
    _refuse_divergence(task, oracle["loss curve"])

    def record(
        result: str, detail: str, verdict: str = "", curve: Pool | None = None, mine: Answer | None = None
    ) -> Training:
        losses = mine["loss curve"].double() if mine else torch.empty(0, 0)
        return Training(
            subject.layer_name, subject.strategy_name, dtype, subject.device, result,  # type: ignore[arg-type]
            task.steps, starts, losses[0].tolist() if mine else [], oracle["loss curve"][0].tolist(),
            losses[:, -1].max().item() if mine else None, curve.error if curve else None,
            curve.bound if curve else None, detail, verdict, _digest(mine["parameters"][0]) if mine else "",
        )  # fmt: skip

    try:
        mine = subject.asked.ask(trained, task.dims, values)
        for name, like in reference.items():
            if mine[name].shape != like.shape or mine[name].dtype != like.dtype:
                raise WrongAnswerError(name, f"{name} in training is not of the reference's shape and dtype")
    except WrongAnswerError as wrong:
        return record("wrong", str(wrong))
    mine = {n: t.to(oracle[n].device) for n, t in mine.items()}
    pools = {name: Pool(getattr(torch, dtype)) for name in oracle}
    for name, pool in pools.items():
        for start in range(starts):
            pool.add(mine[name][start], reference[name][start], oracle[name][start])
    ratios = {name: pool.norm_ratio() for name, pool in pools.items()}
    verdict, why = equivalence(_curves(mine), _curves(reference), _curves(oracle), task.target_loss)
    unsure = 1 < max(ratios.values()) < RETRY_BELOW or (verdict == "inconclusive" and starts >= FEWEST_STARTS)
    if unsure and not final:
        return check_training(subject, dtype, seed + starts, 8 * starts, final=True)
    problems = [f"the {n}: {r:.3g} × as far from the oracle as allowed" for n, r in ratios.items() if not r <= 1]
    last = mine["loss curve"][:, -1].max().item()
    if not last <= task.target_loss:
        problems.append(f"final loss {last:.4g} misses the target {task.target_loss:.4g}")
    if verdict == "different":
        problems.append(why)
    return record("wrong" if problems else "ok", "; ".join(problems), verdict, pools["loss curve"], mine)


def _refuse_divergence(task: Task, curves: Tensor) -> None:
    finite = curves.isfinite().all(dim=0)  # [steps + 1]
    if not bool(finite.all()):
        step = int((~finite).nonzero()[0].item())
        raise UnsoundLayerError(
            f"the task diverges: in plain autograd and float64 the loss is no finite number at step {step} of"
            f" {task.steps}; lower its learning_rate of {task.learning_rate:g}"
        )


Curves = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def _curves(answer: Answer) -> Curves:
    curves: Curves = answer["loss curve"].double().cpu().numpy()
    return curves


def equivalence(mine: Curves, reference: Curves, oracle: Curves, target: float) -> tuple[str, str]:
    """Verdict over loss curves [starts, steps + 1], and the measure that decided it in words.

    Fewer than ``FEWEST_STARTS`` are ``inconclusive``.
    """
    if not all(np.isfinite(c).all() and (c > 0).all() for c in (mine, reference, oracle)):
        return "different", "a loss that is not a positive number"
    starts = len(reference)
    if starts < FEWEST_STARTS:
        return "inconclusive", f"{starts} starts are too few"
    verdicts = []
    for name, of in _MEASURES.items():
        here, there, truth = (of(c, target) for c in (mine, reference, oracle))
        difference = here - there
        rounding = math.sqrt(np.square(there - truth).mean())
        margin = max(MARGIN_IN_SPREADS * there.std(ddof=1), MARGIN_IN_ROUNDING * rounding)
        reach = float(stdtrit(starts - 1, (1 + CONFIDENCE) / 2)) * difference.std(ddof=1) / math.sqrt(starts)
        mean = abs(difference.mean())
        word = "equivalent" if mean + reach <= margin else "different" if mean - reach > margin else "inconclusive"
        verdicts.append((word, f"{name} differs by {mean:.3g} ± {reach:.2g}, margin {margin:.3g}"))
    return max(verdicts, key=lambda v: ("equivalent", "inconclusive", "different").index(v[0]))


_MEASURES = {
    "log of the final loss": lambda curves, target: np.log(curves[:, -1]),
    "mean log loss along the curve": lambda curves, target: np.log(curves).mean(axis=1),
    "steps to the target": lambda curves, target: np.argmax(
        np.column_stack([curves <= target, np.ones(len(curves), bool)]), axis=1
    ).astype(float),
}
