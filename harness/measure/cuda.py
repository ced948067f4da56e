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
    """Wall time of a batch, each of whose calls reads a set of tensors of its own, written before the batch.

    A batch is made in parts, synchronised each, where memory has no room for so many sets, and where an answer is to be
    judged: the part ends with that call, so that no later one writes over what it returned.

    A backward cannot be timed by itself this way (its graph would have to be built inside the batch), so it is
    derived as forward_backward − forward when the records are analysed.
    """

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self._cuda = cuda

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``."""
        prepare, run = call.prepare, call.run
        lasted = made = 0
        while made < n:
            batch = call.operands.ahead(n - made)
            call.write(batch)
            self._cuda.synchronize()
            start = perf_counter_ns()
            for _ in range(batch - 1):
                run(prepare())
            kept = run(prepare())
            self._cuda.synchronize()
            lasted += perf_counter_ns() - start
            call.done((kept,))
            del kept
            made += batch
        return (lasted,)


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
        again = min(n, call.operands.left() - n)
        _, launching = self._launching.get(id(call), (call, 0.0))
        while len(pairs) < n:
            call.write(1)
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
            call.done((kept,))
            del kept, made
            if late and again > 0 and MARGIN * launching + SPARE < MOST_SLEEP:
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

    Each call of a graph reads a set of tensors of its own, which are written after the capture and before each replay;
    what the calls return is kept, so that replayed answers are judged. A graph has as many calls as sets fit into
    half of the cache at most, and one where a call changes the weights that the next would read.

    Args:
        cache_bytes: of the device's cache; asked of the device where it is not given.

    Raises:
        RuntimeError: from ``spans``, where a call cannot be captured (it waits for the device, or allocates outside
            torch).
    """

    _failed: ClassVar[list[Any]] = []  # live on: by torch 2.11, the allocator asks a graph whose capture failed

    def __init__(self, cuda: Any = torch.cuda, cache_bytes: int | None = None) -> None:
        self._cuda, self._aside = cuda, cuda.Stream()
        self._cache_bytes = cache_bytes
        self._graphs: dict[int, tuple[Call, Any, list[Any]]] = {}

    def spans(self, call: Call, n: int) -> Sequence[float]:
        """See ``Clock``; a span for each replay."""
        if id(call) not in self._graphs:
            self._graphs[id(call)] = (call, *self._captured(call))
        _, graph, returned = self._graphs[id(call)]
        calls = len(returned)
        replays = math.ceil(n / calls)
        found = []
        for _ in range(replays):
            call.write(calls)
            found.append(self._between_events(graph.replay) * 1e9 * n / (replays * calls))
            call.done(returned)
        return found

    def _captured(self, call: Call) -> tuple[Any, list[Any]]:
        def once() -> Any:
            return call.run(call.prepare())

        call.operands.room(4 + MOST_CALLS_IN_GRAPH)  # what is captured reads contents that no call here has read
        aside = self._aside
        aside.wait_stream(self._cuda.current_stream())
        with self._cuda.stream(aside):  # what is made at a stream's first calls must not be captured
            for _ in range(3):
                call.write(1)
                once()
            call.write(1)
            one = self._between_events(once)
            calls = self._calls(call, one)
            call.write(calls)
        self._cuda.current_stream().wait_stream(aside)
        graph, before = self._cuda.CUDAGraph(), self._cuda.current_stream()
        try:
            with self._cuda.graph(graph, stream=aside):
                returned = [once() for _ in range(calls)]
        except BaseException:
            self._cuda.set_stream(before)  # torch leaves the stream of a capture that fails current
            self._failed.append(graph)
            raise
        graph.replay()
        return graph, returned

    def _calls(self, call: Call, seconds: float) -> int:
        if call.undo is not None:
            return 1
        wanted = min(MOST_CALLS_IN_GRAPH, math.ceil(GRAPH_SECONDS / max(seconds, 1e-9)))
        if call.operands.bytes:
            cache = self._cache_bytes or self._cuda.get_device_properties(0).L2_cache_size
            wanted = min(wanted, cache // (2 * call.operands.bytes))
        return max(1, call.operands.ahead(wanted))

    def _between_events(self, work: Callable[[], object]) -> float:
        start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._cuda._sleep(int(2 * SPARE * CYCLES_A_SECOND))  # while the first is launched
        start.record()
        work()
        end.record()
        self._cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3
