"""A plan in shards: every N-th group, for batch schedulers whose jobs know nothing of each other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.records.schema import Group
from harness.run.plan import Plan
from harness.run.wanted import UsageError

END = "end of shard"
"""A cell that is closed when a shard has done all that it had to."""


def in_header(passes: Mapping[Group, Sequence[str]]) -> list[dict[str, Any]]:
    """Groups with their passes, as a run's header has them."""
    return [dataclasses.asdict(group) | {"passes": list(timed)} for group, timed in passes.items()]


def plan_digest(groups: Sequence[Mapping[str, Any]], launches: int, looks: int) -> str:
    """Of what a whole plan measures; ``groups`` as in the header of a run."""
    return hashlib.sha256(json.dumps([list(groups), launches, looks], sort_keys=True).encode()).hexdigest()


def share(plan: Plan) -> Plan:
    """What ``plan.wanted.shard`` has to do: each N-th group, and the gate of the layers among them.

    A layer's gate is done again in each shard that measures it, for a shard relies on no other. Without a shard it is
    the whole plan. Both have the digest of the whole plan.

    Raises:
        UsageError: there are more shards than groups.
    """
    plan = dataclasses.replace(plan, digest=plan_digest(in_header(plan.passes), plan.launches, plan.looks))
    if not plan.wanted.shard:
        return plan
    number, of = plan.wanted.shard
    mine = plan.groups[number - 1 :: of]
    if of > len(plan.groups):
        raise UsageError(f"--shard {number}/{of}: the plan has no more than {len(plan.groups)} groups to share out")
    layers = {(group.layer, group.device) for group in mine}
    gates = [
        dataclasses.replace(cell, sizes=tuple(g for g in cell.sizes if g in mine))
        for cell in plan.gates
        if (cell.group.layer, cell.group.device) in layers
    ]
    statuses = [
        s
        for s in plan.statuses
        if (s.layer, s.device) in layers
        and (not s.dims or Group(s.layer, s.dims, s.dtype, s.device, s.threads) in mine)
    ]
    return dataclasses.replace(
        plan,
        passes={group: plan.passes[group] for group in mine},
        strategies={group: plan.strategies[group] for group in mine},
        gates=tuple(gates),
        statuses=tuple(statuses),
    )
