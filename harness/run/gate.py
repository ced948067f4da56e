"""The ``gate`` cell: all checks of one strategy, then its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from harness.records.schema import CaseStatus, Check, Group, Status, dims_of, dims_text
from harness.run.jobs import Cell
from harness.run.process import Process, forget_compiled, status_of
from harness.verify.checks import Subject, check_gradients, check_launches, check_values
from harness.verify.oracle import DRAWS
from harness.verify.training import check_training


def gate(process: Process, cell: Cell) -> Iterator[Any]:
    """All checks of one strategy, then its training; ends at the first failure, with a status that says it."""
    name, (strategy_name,) = cell.group.layer, cell.strategies
    layer = process.layer(name)
    strategy = process.strategy(name, strategy_name)
    subject = Subject(name, layer, strategy_name, strategy, process.strategy(name, layer.reference), process.job.device)
    seed = process.job.seed

    def fail(status: Status, reason: str) -> CaseStatus:
        return CaseStatus(name, strategy_name, status, reason, "gate", device=process.job.device)

    stages: list[tuple[str, Callable[[], list[Check]]]] = [
        (f"values {dtype} {dims_text(dict(dims))}", partial(check_values, subject, dims, dtype, seed))
        for dtype in strategy.dtypes
        for dims in (layer.check[:1] if dtype == "float64" else layer.check)
    ]
    if "float64" in strategy.dtypes:
        stages.append(("gradcheck", lambda: [check_gradients(subject, layer.check[0], seed)]))
    if strategy.kernels:
        stages.append(("launches", lambda: list(check_launches(subject, layer.check[0], seed))))
    for group in cell.sizes:
        if group.dtype in strategy.dtypes:
            stages.append((f"values of {group}", partial(_check_size, subject, group, seed)))

    for stage, check in stages:
        process.about_to(str(cell.group), strategy_name, stage)
        forget_compiled()
        try:
            results = check()
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            yield fail(*_in_stage(stage, error))
            return
        yield from results
        for check_result in results:
            if check_result.result == "wrong":
                yield fail("wrong", describe_failure(check_result))
                return

    process.about_to(str(cell.group), strategy_name, "training")
    forget_compiled()
    try:
        training = check_training(subject, "float32", seed, 1 if process.job.interpret else DRAWS)
    except Exception as error:  # noqa: BLE001 - see above
        yield fail(*_in_stage("training", error))
        return
    yield training
    if training.result == "wrong":
        yield fail("wrong", f"training: {training.detail}")


def _in_stage(stage: str, error: Exception) -> tuple[Status, str]:
    status, reason = status_of(error)
    return status, f"{stage}: {reason}"


def _check_size(subject: Subject, group: Group, seed: int) -> list[Check]:
    torch.set_num_threads(group.threads)
    try:
        return check_values(subject, dims_of(group.dims), group.dtype, seed)
    finally:
        torch.set_num_threads(1)


def describe_failure(check: Check) -> str:
    """One line: check, tensor, where, error and bound."""
    numbers = f": error {check.error:.3g}, bound {check.bound:.3g}" if check.error is not None else ""
    detail = f" ({check.detail})" if check.detail else ""
    return f"{check.check}: {check.tensor}, {check.dtype}, {check.dims}, seed {check.seed}{numbers}{detail}"
