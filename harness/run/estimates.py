"""How long a plan will take, from what such cells took on a 2-core machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.records.modes import LOOPED
from harness.records.schema import Group, StrategyFacts
from harness.run.jobs import Cell

if TYPE_CHECKING:
    from harness.run.plan import Plan

REGIMES = 3
"""On CUDA each pass but the looped ones is timed by three clocks (see measure/cuda.py)."""
PROCESS_SECONDS, WARM_UP_SECONDS, MEMORY_SECONDS = 6.0, 0.75, 4.0
Facts = Mapping[tuple[str, str], StrategyFacts]


def gate_seconds(cell: Cell, facts: Facts, level: str) -> float:
    """Of one strategy's gate, or of the controls."""
    if cell.kind == "controls":
        return 15.0
    compiled = "compiler" in facts[cell.group.layer, cell.strategies[0]].needs
    if compiled or cell.interpret:
        return 20.0 if level == "quick" else 40.0
    return 5.0 if level == "quick" else 10.0


def launch_seconds(plan: Plan, group: Group) -> float:
    """Of one launch of a group, without starting the process, and its share of the memory pass; more where single calls
    take long."""
    clocks = sum(REGIMES if group.device == "cuda" and p not in LOOPED else 1 for p in plan.passes_of(group))
    warm_up = WARM_UP_SECONDS * (len(plan.strategies[group]) + 1)
    sampling = 1.25 * plan.seconds_on(group.device) * clocks
    return warm_up + sampling + MEMORY_SECONDS / plan.launches


def around_seconds(plan: Plan) -> float:
    """Of one launch outside of its groups: starting processes, importing."""
    return PROCESS_SECONDS * len({(g.device, g.threads) for g in plan.groups})


def launches_again(plan: Plan) -> float:
    """Of a second look, as launches of all groups: about half stays inconclusive."""
    return plan.profile.more_launches / 2 if plan.looks == 2 else 0.0


def first_call_seconds(plan: Plan) -> float:
    """Of all first calls."""

    def slow(cell: Cell) -> bool:
        return "compiler" in plan.facts[cell.group.layer, cell.strategies[0]].needs

    return sum(14.0 if slow(cell) else 1.0 for job in plan.first_call_jobs(frozenset()) for cell in job.cells)


def minutes(plan: Plan, parallel: int, slots: int = 1) -> tuple[float, float]:
    """Of (gate, measuring), by so many gates side by side, and so many launches."""
    p = plan.profile
    cells = sum(gate_seconds(cell, plan.facts, plan.wanted.scope.level) for cell in plan.gates)
    gate = (cells + 20.0 * len(plan.devices)) / parallel / 60
    launch = around_seconds(plan) + sum(launch_seconds(plan, g) for g in plan.groups)
    measuring = launch * (plan.launches + launches_again(plan)) + first_call_seconds(plan) + 10
    most = math.inf if p.minutes is None else max(0.0, p.minutes - gate)
    return gate, min(measuring / 60 / slots, most)
