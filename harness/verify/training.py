"""Training on the layer's real data: the same curve as the oracle's, and a stated target reached.

Every start draws the parameters anew; strategy, reference (same dtype) and oracle (the reference in float64) train
from the same rounded start on the same rounded data. The loss curves and the final parameters are then held to the
error rule of oracle.py, a start being a draw: full-batch descent on these tasks contracts, so rounding does not grow,
and a strategy may stray at most twice as far from the oracle as plain autograd does. Only the norms are held to it:
the rule for single elements rests on rounding being independent in each place, and along a curve it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.layers.drawing import draw
from harness.layers.gradients import Instance, build, loss_and_gradients
from harness.layers.spec import Task
from harness.records.schema import Training
from harness.verify.checks import Subject
from harness.verify.oracle import DRAWS, RETRY_BELOW, Pool


@dataclass(frozen=True)
class Trained:
    """``losses`` [steps + 1]: before each step and after the last; ``parameters`` flattened into one vector."""

    losses: Tensor
    parameters: Tensor


Data = list[tuple[Mapping[str, Tensor], Tensor]]


def train(task: Task, instance: Instance, examples: Data) -> Trained:
    """Full-batch SGD by ``torch.optim.SGD``, as a user would write it.

    With ``tape`` the gradients come by ``loss.backward()``; with ``func`` they are values, copied to ``.grad``.
    """
    parameters = list(instance.parameters.values())
    optimizer = torch.optim.SGD(parameters, lr=task.learning_rate)
    losses = []
    for number in range(task.steps + 1):
        optimizer.zero_grad()
        if instance.gradients == "func":
            loss, gradients = loss_and_gradients(instance, examples, task.loss)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        else:
            loss = torch.stack([task.loss(instance.call(instance.parameters, x), y) for x, y in examples]).sum()
            if number < task.steps:
                loss.backward()
        losses.append(loss.detach().clone())
        if number < task.steps:
            optimizer.step()
    return Trained(torch.stack(losses), torch.cat([p.detach().flatten() for p in parameters]))


def check_training(subject: Subject, dtype: str, seed: int, starts: int) -> Training:
    """Train from several starts and compare with the oracle; the record holds the first start's curve.

    What strays by less than three times is trained again from eight times as many starts, and that is final.
    """
    kind: torch.dtype = getattr(torch, dtype)
    task = subject.layer.task
    rounded: Data = [
        ({n: x.to(subject.device, kind) for n, x in e.inputs.items()}, e.target.to(subject.device, kind))
        for e in task.examples()
    ]
    wide: Data = [({n: x.double() for n, x in inputs.items()}, target.double()) for inputs, target in rounded]

    curve, weights = Pool(kind), Pool(kind)
    finals: list[float] = []
    first: tuple[Trained, Trained] | None = None
    for start in range(starts):
        values = draw(subject.layer, task.dims, kind, subject.device, seed + start)
        double = values.to(torch.float64).parameters
        oracle = train(task, build(subject.reference, task.dims, double), wide)
        reference = train(task, build(subject.reference, task.dims, values.parameters), rounded)
        mine = train(task, build(subject.strategy, task.dims, values.parameters), rounded)
        curve.add(mine.losses, reference.losses, oracle.losses)
        weights.add(mine.parameters, reference.parameters, oracle.parameters)
        finals.append(mine.losses[-1].item())
        first = first or (mine, oracle)

    assert first is not None
    ratios = {"the loss curve": curve.norm_ratio(), "the trained parameters": weights.norm_ratio()}
    if starts <= DRAWS and 1 < max(ratios.values()) < RETRY_BELOW:
        return check_training(subject, dtype, seed + starts, 8 * starts)
    problems = [
        f"{what}: {ratio:.3g} × as far from the oracle as allowed" for what, ratio in ratios.items() if not ratio <= 1
    ]
    if not max(finals) <= task.target_loss:
        problems.append(f"final loss {max(finals):.4g} misses the target {task.target_loss:.4g}")
    return Training(
        subject.layer_name, subject.strategy_name, dtype, subject.device, "wrong" if problems else "ok",
        task.steps, starts, [float(x) for x in first[0].losses], [float(x) for x in first[1].losses],
        max(finals), curve.error, curve.bound, "; ".join(problems),
    )  # fmt: skip
