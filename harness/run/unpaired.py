"""The cells that measure without pairs: ``roofs``, ``memory`` and ``first_call``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from harness.layers.spec import Cost
from harness.measure import memory
from harness.measure.clock import clocks_for
from harness.measure.roofs import roofs
from harness.records.dims import dims_of
from harness.records.schema import FirstCall, Memory, Work
from harness.run.jobs import Cell
from harness.run.measuring import Bench
from harness.run.process import Process

UNCOUNTED = "what its own CUDA graphs hold is not among the bytes that torch counts"


def measure_roofs(process: Process, cell: Cell) -> Iterator[Any]:
    """What the device can do, and what the groups that run on it (``sizes``) cannot do without."""
    device, threads = cell.group.device, cell.group.threads
    process.about_to(str(cell.group), "", "copy bandwidth and matrix products")
    torch.set_num_threads(threads)
    dtypes = list(dict.fromkeys(g.dtype for g in cell.sizes))
    clocks = clocks_for(device)
    yield from roofs(device, threads, dtypes, clocks.get("device_hot", clocks["wall"]), clocks["wall"])
    for group in cell.sizes:
        layer, dims, size = process.layer(group.layer), dims_of(group.dims), getattr(torch, group.dtype).itemsize
        if layer.cost is None:
            continue
        forward, backward = (layer.cost(p, dims) for p in ("forward", "backward"))
        both = Cost(forward.flops + backward.flops, forward.elements + backward.elements)
        work = {"forward": forward, "inference": forward, "backward": backward, "forward_backward": both}
        for passed, cost in work.items():
            yield Work(group, passed, cost.flops, cost.elements * size)


def measure_memory(process: Process, cell: Cell) -> Iterator[Any]:
    """Bytes of each strategy of a group."""
    bench = Bench(process, cell.group)
    for strategy in cell.strategies:
        process.about_to(str(cell.group), strategy, "memory")
        if bench.own_graphs(strategy):
            yield bench.status(strategy, "unsupported", UNCOUNTED, "memory")
            continue
        try:
            found = memory.measure(bench.ready(strategy).calls, cell.group.device)
        except memory.AllocationEventsError:
            raise
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            yield bench.failed(strategy, "memory", error)
        else:
            yield Memory(cell.group, strategy, **asdict(found))


def first_call(process: Process, cell: Cell) -> Iterator[Any]:
    """The cold first call of one strategy: this process has seen no other, and its compile caches are empty."""
    (strategy,) = cell.strategies
    bench = Bench(process, cell.group)
    process.about_to(str(cell.group), strategy, "cold first call")
    loading = time.perf_counter()
    try:
        made = bench.ready(strategy)
        loaded = time.perf_counter() - loading
        seconds = bench.first_call(made)
    except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
        yield bench.failed(strategy, "first_call", error)
    else:
        yield FirstCall(cell.group, strategy, 0, cold=True, seconds=seconds, loading=loaded)
