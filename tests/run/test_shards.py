"""Shards: together they are the plan, each of them can stand alone."""

import dataclasses

import pytest

from harness.records.schema import LayerFacts
from harness.run.plan import Plan, make_plan
from harness.run.shards import share
from harness.run.wanted import UsageError, Wanted
from tests.run.test_plan import LAYERS, MACHINE, STRATEGIES


def _plan(shard: tuple[int, ...] = (), layers: list[LayerFacts] = LAYERS) -> Plan:
    wanted = Wanted(profile="default", shard=shard)
    return share(make_plan(wanted, layers, STRATEGIES, MACHINE, ("x",)))


@pytest.mark.parametrize("of", [1, 2, 3])
def test_shards_are_the_plan(of: int) -> None:
    whole, shards = _plan(), [_plan((n, of)) for n in range(1, of + 1)]
    assert {s.digest for s in shards} == {whole.digest}
    assert sorted(g for s in shards for g in map(str, s.groups)) == sorted(map(str, whole.groups))
    for job in ("memory_jobs", "first_call_jobs"):
        names = [c.name for s in shards for j in getattr(s, job)(frozenset()) for c in j.cells]
        assert sorted(names) == sorted(c.name for j in getattr(whole, job)(frozenset()) for c in j.cells)
    gated = {c.name for s in shards for c in s.gates}
    assert gated == {c.name for c in whole.gates}
    assert all({g for c in s.gates for g in c.sizes} == set(s.groups) for s in shards)
    said = {(s.strategy, s.layer, s.dims, s.dtype, s.threads, s.reason) for shard in shards for s in shard.statuses}
    assert said == {(s.strategy, s.layer, s.dims, s.dtype, s.threads, s.reason) for s in whole.statuses}


def test_a_shard_gates_only_the_layers_that_it_measures() -> None:
    one = dataclasses.replace(_plan((1, 2)).wanted, profile="quick")
    shard = share(make_plan(one, LAYERS, STRATEGIES, MACHINE, ("x",)))
    assert {g.layer for g in shard.groups} == {"one"} == {c.group.layer for c in shard.gates}


def test_another_plan_has_another_digest() -> None:
    assert _plan().digest != _plan(layers=LAYERS[:1]).digest


def test_no_more_shards_than_groups() -> None:
    most = len(_plan().groups)
    with pytest.raises(UsageError, match=f"--shard 1/{most + 1}: the plan has no more than {most} groups"):
        _plan((1, most + 1))
