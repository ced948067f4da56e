"""The ``gate`` cell: all checks of one strategy, then its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from harness.records.schema import CaseStatus, Check, Group, Status, Training, dims_of, dims_text
from harness.run.jobs import Cell, Job
from harness.run.process import Process, forget_compiled, leave_if_the_device_is_lost, status_of
from harness.verify.checks import (
    Subject,
    check_double_backward,
    check_gradients,
    check_launches,
    check_values,
    working_dtype,
)
from harness.verify.oracle import DRAWS
from harness.verify.training import check_training


def gate(process: Process, cell: Cell) -> Iterator[Any]:
    """All checks of one strategy, then its training; ends at the first failure, with a status that says it.

    Running out of memory at a size that is to be measured costs that size alone.
    """
    name, (strategy_name,) = cell.group.layer, cell.strategies
    process.about_to(str(cell.group), strategy_name, "import")
    layer = process.layer(name)
    strategy = process.strategy(name, strategy_name)
    subject = Subject(name, layer, strategy_name, strategy, process.strategy(name, layer.reference), process.job.device)

    def status(word: Status, reason: str, **where: Any) -> CaseStatus:
        return CaseStatus(name, strategy_name, word, reason, "gate", device=process.job.device, **where)

    for stage, group, check in _stages(subject, cell, process.job):
        process.about_to(str(cell.group), strategy_name, stage)
        forget_compiled()
        try:
            results = check()
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            leave_if_the_device_is_lost(process.job.device)
            word, reason = status_of(error)
            if word == "oom" and group is not None:
                yield status(word, f"{stage}: {reason}", dims=group.dims, dtype=group.dtype, threads=group.threads)
                continue
            yield status(word, f"{stage}: {reason}")
            return
        yield from results
        for result in results:
            if result.result == "wrong":
                yield status("wrong", describe_failure(result))
                return


Stage = tuple[str, Group | None, Callable[[], Sequence[Check | Training]]]


def _stages(subject: Subject, cell: Cell, job: Job) -> Iterator[Stage]:
    """What is checked, in order, each with a name; the group is set where a size to be measured is checked."""
    layer, strategy, seed = subject.layer, subject.strategy, job.seed
    for dtype in strategy.dtypes:
        for dims in layer.check[:1] if dtype == "float64" else layer.check:
            yield f"values {dtype} {dims_text(dict(dims))}", None, partial(check_values, subject, dims, dtype, seed)
    if "float64" in strategy.dtypes:
        yield "gradcheck", None, lambda: [check_gradients(subject, layer.check[0], seed)]
    if strategy.kernels:
        yield "launches", None, lambda: list(check_launches(subject, layer.check[0], seed))
    for group in cell.sizes:
        if group.dtype in strategy.dtypes:
            yield f"values of {group}", group, partial(_check_size, subject, group, seed)
    if "float64" in strategy.dtypes:
        dims = layer.check[1] if job.interpret else layer.check[0]
        yield "double backward", None, lambda: [check_double_backward(subject, dims, seed)]
    starts = 1 if job.interpret else DRAWS
    yield "training", None, lambda: [check_training(subject, working_dtype(strategy), seed, starts)]


def _check_size(subject: Subject, group: Group, seed: int) -> list[Check]:
    torch.set_num_threads(group.threads)
    try:
        return check_values(subject, dims_of(group.dims), group.dtype, seed)
    finally:
        torch.set_num_threads(1)


def describe_failure(result: Check | Training) -> str:
    """One line: check, tensor, where, error and bound."""
    if isinstance(result, Training):
        return f"training: {result.detail}"
    numbers = f": error {result.error:.3g}, bound {result.bound:.3g}" if result.error is not None else ""
    detail = f" ({result.detail})" if result.detail else ""
    return f"{result.check}: {result.tensor}, {result.dtype}, {result.dims}, seed {result.seed}{numbers}{detail}"
