"""Clocks of a CUDA device, one for each regime: what a training loop sees, and what the device itself takes.

* ``wall``: wall time of a batch of calls, synchronised at both ends. Includes what Python and the launches cost.
* ``device_cold``: time between two events around each call, the L2 cache flushed before each pair: a layer in a
  network, whose operands come from memory. After the flush the device sleeps for longer than the launches of such a
  call have taken so far (20 ms at most), so that waiting for launches stays out. A call that is still being launched
  when the device wakes is timed again.
* ``device_hot``: a CUDA graph of calls, replayed: kernels back to back, operands in the cache where they fit.

They answer different questions and are never mixed. Source: the events' and graphs' semantics are those of the PyTorch
notes "CUDA semantics"; flush and replays follow ``triton.testing.do_bench`` and ``do_bench_cudagraph``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, ClassVar

import torch

from harness.measure.passes import Call

GRAPH_SECONDS, MOST_CALLS_IN_GRAPH = 1e-3, 10
MOST_SLEEP, SPARE, CYCLES_A_SECOND = 20e-3, 100e-6, 2e9
MARGIN, KEPT = 1.25, 0.9
"""How much longer than the launches the device sleeps, and how slowly the longest of them is forgotten."""
FLUSH_BYTES = 256 * 2**20


class WallClock:
    """Wall time of a batch.

    A backward cannot be timed by itself this way (its graph would have to be built inside the batch), so it is
    derived as forward_backward − forward when the records are analysed.
    """

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self._cuda = cuda

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``."""
        prepare, run = call.prepare, call.run
        self._cuda.synchronize()
        start = perf_counter_ns()
        for _ in range(n):
            run(prepare())
        self._cuda.synchronize()
        return (perf_counter_ns() - start,)


class ColdClock:
    """Events around each call, with a flushed L2.

    Of n calls as many are timed again, at most, for having been launched too late. What is late even so, as launches of
    more than 20 ms are, is kept: then the time holds launches, as ``wall`` does.

    Args:
        flush: overwrites more than the L2 cache holds.
    """

    def __init__(self, flush: Any = None, cuda: Any = torch.cuda) -> None:
        self._cuda, self._flush = cuda, flush or _flusher()
        self._launching: dict[int, tuple[Call, float]] = {}

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``."""
        pairs: list[tuple[Any, Any]] = []
        again = n
        _, launching = self._launching.get(id(call), (call, 0.0))
        while len(pairs) < n:
            made = call.prepare()
            start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
            self._flush()
            self._cuda._sleep(int(min(MARGIN * launching + SPARE, MOST_SLEEP) * CYCLES_A_SECOND))
            start.record()
            began = perf_counter_ns()
            kept = call.run(made)
            end.record()
            launching = max((perf_counter_ns() - began) * 1e-9, KEPT * launching)
            late = start.query()
            del kept, made
            if late and again and MARGIN * launching + SPARE < MOST_SLEEP:
                again -= 1
            else:
                pairs.append((start, end))
        self._cuda.synchronize()
        self._launching[id(call)] = call, launching
        return [start.elapsed_time(end) * 1e6 for start, end in pairs]


def _flusher() -> Any:
    size = max(FLUSH_BYTES, 2 * torch.cuda.get_device_properties(0).L2_cache_size)
    buffer = torch.empty(size, dtype=torch.uint8, device="cuda")
    return buffer.zero_


class GraphClock:
    """Replays of a CUDA graph of several calls, captured once for each; a graph lasts a millisecond, or one call.

    Raises:
        RuntimeError: from ``spans``, where a call cannot be captured (it waits for the device, or allocates outside
            torch).
    """

    _failed: ClassVar[list[Any]] = []  # live on: by torch 2.11, the allocator asks a graph whose capture failed

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self._cuda, self._aside = cuda, cuda.Stream()
        self._graphs: dict[int, tuple[Call, Any, int]] = {}

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``."""
        if id(call) not in self._graphs:
            self._graphs[id(call)] = (call, *self._captured(call))
        _, graph, calls = self._graphs[id(call)]
        replays = math.ceil(n / calls)
        lasted = self._between_events(lambda: [graph.replay() for _ in range(replays)])
        return (lasted * 1e9 * n / (replays * calls),)

    def _captured(self, call: Call) -> tuple[Any, int]:
        def once() -> None:
            call.run(call.prepare())

        aside = self._aside
        aside.wait_stream(self._cuda.current_stream())
        with self._cuda.stream(aside):  # what is made at a stream's first calls must not be captured
            for _ in range(3):
                once()
            one = self._between_events(once)
        self._cuda.current_stream().wait_stream(aside)
        calls = max(1, min(MOST_CALLS_IN_GRAPH, math.ceil(GRAPH_SECONDS / max(one, 1e-9))))
        graph, before = self._cuda.CUDAGraph(), self._cuda.current_stream()
        try:
            with self._cuda.graph(graph, stream=aside):
                for _ in range(calls):
                    once()
        except BaseException:
            self._cuda.set_stream(before)  # torch leaves the stream of a capture that fails current
            self._failed.append(graph)
            raise
        graph.replay()
        return graph, calls

    def _between_events(self, work: Callable[[], object]) -> float:
        start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._cuda._sleep(int(2 * SPARE * CYCLES_A_SECOND))  # while the first is launched
        start.record()
        work()
        end.record()
        self._cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3
