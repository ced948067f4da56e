"""The CUDA clocks on a device that is made up: every kernel takes a millisecond of its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from harness.measure.clock import total
from harness.measure.cuda import ColdClock, GraphClock
from harness.measure.passes import Call

KERNEL, FLUSH = 1e-3, 0.25


class FakeCuda:
    """Counts device time; what runs while a graph is captured takes none, and a replay takes that of what it holds.

    The host has a time of its own, which passes where launches do (``launch``); the device wakes by it.
    """

    def __init__(self) -> None:
        self.now, self.flushed, self._captured = 0.0, 0, None
        self.host = self.awake = 0.0
        self.slept: list[float] = []
        self.stream_set: Any = None

    def kernel(self, seconds: float = KERNEL) -> None:
        if self._captured is None:
            self.now += seconds
        else:
            self._captured.seconds += seconds

    def _sleep(self, cycles: int) -> None:
        self.slept.append(cycles / 2e9)
        self.awake = self.host + cycles / 2e9

    def launch(self, seconds: float) -> None:
        self.host += seconds
        self.kernel()

    def set_stream(self, stream: Any) -> None:
        self.stream_set = stream

    def flush(self) -> None:
        self.flushed += 1
        self.now += FLUSH

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802 - torch's name
        assert enable_timing
        event = SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", self.now)
        event.elapsed_time = lambda end: (end.at - event.at) * 1e3
        event.query = lambda: self.host >= self.awake
        return event

    def CUDAGraph(self) -> Any:  # noqa: N802 - torch's name
        graph = SimpleNamespace(seconds=0.0, replays=0)

        def replay() -> None:
            graph.replays += 1
            self.now += graph.seconds

        graph.replay = replay
        return graph

    @contextmanager
    def graph(self, graph: Any, stream: Any) -> Iterator[None]:
        assert stream is self.aside
        self._captured = graph
        try:
            yield
        finally:
            self._captured = None

    @property
    def capturing(self) -> bool:
        return self._captured is not None

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.aside = stream
        yield

    def Stream(self) -> Any:  # noqa: N802 - torch's name
        return SimpleNamespace(wait_stream=lambda other: None)

    current_stream = Stream

    def synchronize(self) -> None:
        pass


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    found = FakeCuda()
    monkeypatch.setattr("harness.measure.cuda.perf_counter_ns", lambda: int(found.host * 1e9))
    return found


def _call(cuda: FakeCuda, kernels: int = 1) -> Call:
    return Call(lambda: cuda.kernel(), lambda _: [cuda.kernel() for _ in range(kernels)])


def test_a_cold_call_is_timed_without_its_preparation_and_the_flush_before_each(cuda: FakeCuda) -> None:
    assert total(ColdClock(cuda.flush, cuda), _call(cuda, 3), 5) == pytest.approx(5 * 3 * KERNEL)
    assert cuda.flushed == 5


def test_the_device_sleeps_for_longer_than_a_cold_call_s_launches_and_one_that_is_late_is_timed_again(
    cuda: FakeCuda,
) -> None:
    launches = iter([0.004, 0.004, 0.012, 0.0, 0.0])
    call = Call(lambda: None, lambda _: cuda.launch(next(launches)))
    assert list(ColdClock(cuda.flush, cuda).spans(call, 3)) == pytest.approx([KERNEL * 1e9] * 3)
    assert next(launches, None) is None  # the first, and the one that took longer than those before, were taken again
    longest = [0, 0.004, 0.004, 0.012, 0.9 * 0.012]  # what was slow once is forgotten
    assert cuda.slept == pytest.approx([1.25 * seconds + 1e-4 for seconds in longest])


def test_launches_longer_than_the_device_may_sleep_are_not_timed_again(cuda: FakeCuda) -> None:
    slow = Call(lambda: None, lambda _: cuda.launch(0.025))
    assert total(ColdClock(cuda.flush, cuda), slow, 2) == pytest.approx(2 * KERNEL)
    assert cuda.slept == pytest.approx([1e-4, 0.02])


def test_a_capture_that_fails_leaves_the_stream_as_it_was(cuda: FakeCuda) -> None:
    def waits(_: Any) -> None:
        if cuda.capturing:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capturing"):
        GraphClock(cuda).spans(Call(lambda: None, waits), 1)
    assert cuda.stream_set is not None


@pytest.mark.parametrize("n", [1, 7, 40])
def test_a_graph_is_captured_once_and_replayed_to_the_time_of_n_calls(cuda: FakeCuda, n: int) -> None:
    clock, call = GraphClock(cuda), Call(lambda: None, lambda _: cuda.kernel(1e-4))
    assert total(clock, call, n) == pytest.approx(n * 1e-4)
    before = cuda.now
    assert total(clock, call, n) == pytest.approx(n * 1e-4)
    assert cuda.now - before == pytest.approx(-(-n // 10) * 10 * 1e-4)  # whole graphs of ten, and no capture


def test_a_long_call_makes_a_graph_of_its_own(cuda: FakeCuda) -> None:
    clock, call = GraphClock(cuda), Call(lambda: None, lambda _: cuda.kernel(0.02))
    assert total(clock, call, 1) == pytest.approx(0.02)
    before = cuda.now
    total(clock, call, 1)
    assert cuda.now - before == pytest.approx(0.02)
