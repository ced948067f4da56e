"""What has room in a device's memory is measured; what has none is skipped, with the estimate."""

import dataclasses

import pytest

from harness.records.schema import Group, LayerFacts
from harness.run.plan import make_plan
from harness.run.room import bytes_of, no_room
from harness.run.wanted import Machine, UsageError, Wanted
from tests.run.test_plan import LAYERS, STRATEGIES

LAYER = dataclasses.replace(LAYERS[0], shapes=(("N", "D"), ("D",), ("N", "D")))
LARGE = Group("one", "N=65536,D=8192", "float32", "cuda", 1)


def _machine(**memory: int) -> Machine:
    return Machine(True, True, 2, memory)


def test_an_estimate_counts_each_arm_and_the_judge() -> None:
    numbers = 2 * 65536 * 8192 + 8192
    assert bytes_of(LAYER, LARGE, 7) == numbers * (4 * (7 + 2) + (4 + 8) * 2)
    assert bytes_of(LAYER, dataclasses.replace(LARGE, dtype="bfloat16"), 7) == numbers * (2 * 9 + 10 * 2)
    assert bytes_of(dataclasses.replace(LAYER, shapes=((),)), LARGE, 1) == 4 * 3 + 24  # a scalar


def test_the_reason_names_what_it_takes_and_what_there_is() -> None:
    assert no_room(LAYER, LARGE, 6, 48_000_000_000) == "takes about 64.4 GB for 6 strategies, and there are 48 GB"
    assert no_room(LAYER, LARGE, 6, 80_000_000_000) == ""
    assert no_room(LAYER, LARGE, 6, 0) == ""


def test_a_size_without_room_is_skipped_by_every_strategy_and_not_checked_either() -> None:
    layer: LayerFacts = dataclasses.replace(LAYER, sizes={"cuda": {"quick": ["N=8,D=8", "N=65536,D=8192"]}})
    plan = make_plan(Wanted(profile="quick"), [layer], STRATEGIES, _machine(cuda=16_000_000_000), ("x",))
    assert [g.dims for g in plan.groups] == ["N=8,D=8"]
    assert {g.dims for gate in plan.gates for g in gate.sizes} == {"N=8,D=8"}
    said = {s.strategy: s.reason for s in plan.statuses if s.dims == "N=65536,D=8192" and s.status == "skipped"}
    assert set(said) == {"autograd", "compiled", "triton"}
    assert set(said.values()) == {"takes about 34.4 GB for 3 strategies, and there are 16 GB"}


def test_where_no_size_has_room_one_line_says_so() -> None:
    layer = dataclasses.replace(LAYER, sizes={"cuda": {"quick": ["N=65536,D=8192"]}})
    with pytest.raises(UsageError, match=r"no size has room: N=65536,D=8192 takes about 34\.4 GB"):
        make_plan(Wanted(profile="quick"), [layer], STRATEGIES, _machine(cuda=16_000_000_000), ("x",))
