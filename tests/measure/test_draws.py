"""What timed calls read: contents that no other call of the sample reads, weights of their round, and what is judged."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from harness.layers.drawing import draw
from harness.layers.spec import Layer, Operand, Strategy
from harness.measure.clock import Clock, CpuClock
from harness.measure.cuda import ColdClock, GraphClock, WallClock
from harness.measure.draws import JUDGED, Draws
from harness.measure.passes import ready
from harness.measure.sampler import Arm, Series, sample
from tests.measure.test_cuda import FakeCuda

DIMS = {"N": 4, "D": 3}
layer = Layer(
    title="scale", formula="y = x w", inputs={"x": Operand(("N", "D"))}, parameters={"weight": Operand(("D",))},
    output=("N", "D"), check=(DIMS,), sizes={}, leading="N",
)  # fmt: skip


class Seen:
    """A right strategy that notes what it is called with: inputs, address and version, and weights."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int, int, float]] = []
        self.strategy = Strategy(self.forward)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        self.calls.append((x.detach().sum().item(), x.data_ptr(), x._version, weight.detach().sum().item()))
        return x * weight


def _sampled(
    clock: Clock, passed: str = "forward_backward", most_bytes: int | None = None, arms: int = 1
) -> tuple[list[Seen], list[Series], list[list[int]]]:
    """Several arms in seven rounds; where in each one's calls its samples begin and their timed calls do."""
    values = draw(layer, DIMS, torch.float32, "cpu", 0)
    draws = Draws(layer, DIMS, values, 0, most_bytes)
    seen = [Seen() for _ in range(arms)]
    calls = [ready(layer, one.strategy, DIMS, values, draws).calls[passed] for one in seen]
    begins: list[list[int]] = [[] for _ in seen]

    def about_to(arm: Arm) -> None:
        i = int(arm.strategy)
        begins[i].append(len(seen[i].calls))

    made = [Arm(str(i), False, call) for i, call in enumerate(calls)]
    series, _ = sample(made, clock, 0.0, random.Random(0), about_to, sample_seconds=5e-4, draws=draws)
    return seen, series, [[*found[1:], len(one.calls)] for found, one in zip(begins, seen, strict=True)]


def _samples(seen: Seen, begins: Sequence[int]) -> list[list[tuple[float, int, int, float]]]:
    return [seen.calls[a:b] for a, b in pairwise(begins)]


CLOCKS: dict[str, Callable[[], Clock]] = {
    "cpu": CpuClock,
    "wall": lambda: WallClock(FakeCuda()),
    "cold": lambda: ColdClock(lambda: None, FakeCuda()),
}


@pytest.mark.parametrize("passed", ["forward", "inference", "forward_backward", "step"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_no_contents_come_twice_in_a_sample_and_weights_are_a_round_s(clock: str, passed: str) -> None:
    (seen,), _, (begins,) = _sampled(CLOCKS[clock](), passed)
    rounds = _samples(seen, begins)
    assert len(rounds) == 7
    for calls in rounds:
        assert len({x for x, *_ in calls}) == len(calls)
    first_weights = [calls[0][3] for calls in rounds]
    assert len(set(first_weights)) == 7
    for calls in rounds:  # a step's own update is small
        assert {w for *_, w in calls} == {calls[0][3]} or passed == "step"
    orders = [tuple(x for x, *_ in calls) for calls in rounds]
    assert len(set(orders)) == 7


def test_on_a_cpu_the_very_same_tensor_is_written_and_half_of_the_writes_move_its_version() -> None:
    (seen,), _, (begins,) = _sampled(CpuClock())
    calls = seen.calls[begins[0] :]
    assert len({address for _, address, *_ in calls}) == 1
    moved = Counter(b[2] > a[2] for a, b in pairwise(calls))
    assert len(calls) > 50
    assert 0.25 < moved[True] / len(calls) < 0.75


def test_a_batch_visits_a_set_of_its_own_at_each_call() -> None:
    (seen,), (series,), (begins,) = _sampled(WallClock(FakeCuda()), "forward")
    for number, calls in enumerate(_samples(seen, begins)):
        timed = calls[series.untimed :]
        addresses = Counter(address for _, address, *_ in timed)
        parts = 2 if any(visit.judged is not None for visit in series.judged) else 1
        assert max(addresses.values()) <= parts, number  # a judged one ends a part


def test_in_a_judged_round_every_arm_reads_the_judged_contents_at_a_timed_call() -> None:
    _, series, _ = _sampled(CpuClock(), "forward", arms=3)
    for one in series:
        assert sorted(v.judged.number for v in one.judged if v.judged) == list(range(JUDGED))
        assert all(v.chosen >= one.untimed for v in one.judged)
    for number in range(JUDGED):
        read = [v.kept for one in series for v in one.judged if v.judged and v.judged.number == number]
        assert len(read) == 3
        assert all(torch.equal(read[0][0], each[0]) for each in read)  # type: ignore[index]
    places = {v.chosen for one in series for v in one.judged}
    assert len(places) > 1


def test_where_memory_is_short_a_sample_has_fewer_calls_and_none_of_its_contents_twice() -> None:
    size = 3 * 4 * DIMS["N"] * DIMS["D"]
    (seen,), (series,), (begins,) = _sampled(CpuClock(), "inference", most_bytes=4 * size)
    assert series.calls + series.untimed <= 4
    for calls in _samples(seen, begins):
        assert len({x for x, *_ in calls}) == len(calls) == series.calls + series.untimed


def test_the_answer_of_a_step_is_judged_by_the_weights_that_it_read() -> None:
    values = draw(layer, DIMS, torch.float64, "cpu", 0)
    draws = Draws(layer, DIMS, values, 0)
    call = ready(layer, Strategy(lambda x, weight: x * weight), DIMS, values, draws).calls["step"]
    weights, moves = draws.weights(draws.judged[0])
    visit = draws.visit(0, 5, draws.judged[0])
    visit.order[0], visit.order[1] = visit.order[1], visit.order[0]
    visit.chosen = visit.order.index(draws.judged[0].draw)
    call.operands.weigh(weights, moves)
    call.operands.begin(visit)
    WallClock(FakeCuda()).spans(call, 5)
    assert visit.kept is not None
    if visit.chosen:
        assert visit.weights is not None
        torch.testing.assert_close(visit.weights["weight"], weights["weight"], rtol=1e-7, atol=1e-7)
        assert not torch.equal(visit.weights["weight"], weights["weight"])  # of the calls before it


def test_a_graph_s_buffers_are_written_after_the_capture_and_before_each_replay() -> None:
    cuda, order = FakeCuda(), []
    values = draw(layer, DIMS, torch.float32, "cpu", 0)
    draws = Draws(layer, DIMS, values, 0)
    seen = Seen()
    call = ready(layer, seen.strategy, DIMS, values, draws).calls["forward"]
    call.operands.room(40)
    clock: Any = GraphClock(cuda, cache_bytes=2**20)
    write = type(call.operands).write
    cuda_graph = cuda.CUDAGraph

    def noted() -> Any:
        graph = cuda_graph()
        replay = graph.replay
        graph.replay = lambda: (order.append("replay"), replay())
        return graph

    cuda.CUDAGraph = noted  # type: ignore[method-assign]
    call.operands.write = lambda n, *more, **last: (order.append(n), write(call.operands, n, *more, **last))  # type: ignore[method-assign]
    clock.spans(call, 25)
    assert order[-6:] == [10, "replay"] * 3
    assert order[:7] == [1, 1, 1, 1, 10, "replay", 10]  # before the capture, and again before what is timed
    assert len({address for _, address, *_ in seen.calls[-10:]}) == 10  # one set for each captured call
