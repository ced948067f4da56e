"""The ``tune`` cells: launch configurations of a kernel, each checked and then timed beside the one in its table."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from harness.layers.kernel import Tuning
from harness.layers.launches import Launches, Row, target_of
from harness.layers.spec import Strategy
from harness.measure.clock import Clock, clocks_for
from harness.measure.conditions import conditions_of
from harness.measure.passes import Call, Ready
from harness.measure.sampler import Arm, sample
from harness.records.kernels import Candidate
from harness.run.answers import WHOLE
from harness.run.jobs import PARTS, Cell
from harness.run.measuring import Bench
from harness.run.process import Process
from harness.verify.asking import status_of

REGIME = "device_cold"
"""Operands come from memory, as in a network."""
AT_A_TIME = 8
"""Candidates that are timed in the same rounds, with the current configuration."""


def try_candidates(process: Process, cell: Cell) -> Iterator[Any]:
    """The candidates of one kernel (``cell.passed``) of a strategy at one size."""
    (name,) = cell.strategies
    for tuning in _tunings(process, cell):
        yield from tried(Bench(process, cell.group), name, tuning, clocks_for(cell.group.device)[REGIME])


def compile_candidates(process: Process, cell: Cell) -> Iterator[Any]:
    """A part of the same candidates (``cell.launch``) run once, so that Triton's cache holds them when they are timed.

    Processes do this side by side, as compilation takes far longer than all the timing. No records.
    """
    (name,) = cell.strategies
    for tuning in _tunings(process, cell):
        bench = Bench(process, cell.group)
        _, configs = _to_try(bench, tuning) or (None, [])
        for config in configs[1 + cell.launch :: PARTS]:
            process.about_to(str(cell.group), name, f"{cell.passed} {config}")
            try:
                call = bench.ready(name).calls[WHOLE]
                with tuning.table.forced(config):
                    call.run(call.prepare())
            except Exception as error:  # noqa: BLE001 - it fails again, and is written down, where it is to be timed
                bench.failed(name, "tune", error)  # ends the process where the device is lost
    return iter(())


def _tunings(process: Process, cell: Cell) -> Iterator[Tuning]:
    (name,) = cell.strategies
    process.about_to(str(cell.group), name, f"candidates of {cell.passed}")
    strategy: Strategy = process.strategy(cell.group.layer, name)
    return (tuning for tuning in strategy.tunings if tuning.table.path.stem == cell.passed)


def _to_try(bench: Bench, tuning: Tuning) -> tuple[Row, list[dict[str, int]]] | None:
    """The row of the table, and its configuration with all others after it; None where there is nothing to compare."""
    size = tuning.size(bench.dims)
    if size is None:
        return None
    row = tuning.table.row(target_of(bench.values.cotangent.device), bench.group.dtype, size)
    current = dict(row.config)
    others = [dict(c) for c in tuning.candidates(size, bench.group.dtype)]
    return (row, [current, *(c for c in others if c != current)]) if others else None


def tried(bench: Bench, strategy: str, tuning: Tuning, clock: Clock) -> Iterator[Candidate]:
    """A record of each configuration, the current one first; none where the strategy does not launch the kernel.

    Every candidate is held to the gate's rule, forward and backward, before any is timed. They are timed in paired
    rounds, each batch of them beside the current one.
    """
    g, table = bench.group, tuning.table
    found = _to_try(bench, tuning)
    if found is None:
        return
    row, configs = found
    current, target = configs[0], target_of(bench.values.cotangent.device)
    made = bench.ready(strategy)

    def record(config: Mapping[str, int], result: str, **more: Any) -> Candidate:
        return Candidate(
            g.layer, strategy, table.path.stem, g.dims, g.dtype, g.device, target, _key(row), dict(config),
            config == current, result, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    sound, taken_before = [], table.taken
    for config in configs:
        bench.process.about_to(str(g), strategy, f"{table.path.stem} {config}")
        wrong = _problem(bench, made, table, config)
        if wrong is None and table.taken == taken_before:
            return
        if wrong is None:
            sound.append(config)
        else:
            yield record(config, *wrong[:1], detail=wrong[1])
            if config == current:
                return
    batches = [sound[1:][i : i + AT_A_TIME] for i in range(0, len(sound) - 1, AT_A_TIME)] or [[]]
    for number, batch in enumerate(batches):
        arms = [
            Arm(str(i), False, _with(table, config, made.calls[tuning.passed]))
            for i, config in enumerate((current, *batch))
        ]
        rng = random.Random(f"{bench.process.job.seed} {g} {table.path.stem} {number}")
        series, _ = sample(
            arms, clock, bench.process.job.seconds, rng, conditions=conditions_of(g.device), draws=bench.draws
        )
        per_call = [one.call_seconds for one in series]
        for config, own, one in zip((current, *batch), per_call, series, strict=True):
            with table.forced(config):
                stale = bench.judge_timed(made, tuning.passed, one.judged)
            if stale:
                yield record(config, "wrong", detail=stale)
                if config == current:
                    return
            elif number == 0 or config != current:
                logs = [math.log(t / b) for t, b in zip(own, per_call[0], strict=True)]
                yield record(config, "ok", log_ratios=logs, seconds=median(own))


def _key(row: Row) -> tuple[str, str, str]:
    target, dtypes, up_to = row.cells[:3]
    return target, dtypes, up_to


def _problem(bench: Bench, made: Ready, table: Launches, config: Mapping[str, int]) -> tuple[str, str] | None:
    """Why a configuration is not to be timed: it does not compile or run, or its answers are wrong."""
    try:
        with table.forced(config):
            wrong = bench.judge(made, WHOLE)
            bench.synchronize()
    except Exception as error:  # noqa: BLE001 - a compiler raises whatever it likes
        bench.failed("", "tune", error)  # ends the process where the device is lost
        return "failed", status_of(error)[1]
    return ("wrong", wrong) if wrong else None


def _with(table: Launches, config: Mapping[str, int], call: Call) -> Call:
    """A call that launches with one configuration."""

    def forced(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with table.forced(config):
                return work(*arguments)

        return run

    return replace(call, prepare=forced(call.prepare), run=forced(call.run))
