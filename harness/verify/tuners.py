"""Kernels under ``triton.autotune``: their first answer for a key, and their answers by other configurations.

At the first launch for a key the tuner runs the kernel many times, by every configuration, on the operands that it was
given; so a kernel that adds into one of them answers wrongly once for each key, unless that operand is reset.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Strategy
from harness.verify.interpreting import causes
from harness.verify.probes import Answer, gradients

RUNS = 2
"""Of the kernel by each configuration in the interpreter, where nothing is timed; on a GPU they are hundreds."""


def tune_without_timing() -> None:
    """Let the tuners of this process run in the interpreter: the first configuration and the last, a few times each.

    That with the fewer programs is taken, the first of two with as many. All else is the tuner's own: keys, pruning,
    hooks, what it resets and restores. Without Triton nothing is done.
    """
    if importlib.util.find_spec("triton") is None:
        return
    tuner: Any = importlib.import_module("triton.runtime.autotuner").Autotuner
    builder: Any = importlib.import_module("triton.runtime.interpreter").interpreter_builder
    prune = tuner.prune_configs

    def prune_configs(self: Any, arguments: dict[str, Any]) -> list[Any]:
        left = prune(self, arguments)
        return [left[0], left[-1]] if len(left) > 1 else left

    tuner.prune_configs = prune_configs
    tuner.do_bench = cached_property(lambda self: _benchmark(RUNS, lambda: math.prod(builder.grid_dim)))
    tuner.do_bench.__set_name__(tuner, "do_bench")


def _benchmark(runs: int, cost: Callable[[], float]) -> Callable[..., list[float]]:
    """A benchmark that times nothing, and gives what a run is said to cost."""

    def run(call: Callable[[], None], **_: Any) -> list[float]:
        try:
            for _number in range(runs):
                call()
        except Exception as error:
            if not any(isinstance(e, AssertionError) for e in causes(error)):  # of tl.static_assert: it is left out
                raise
            return [math.inf] * 3
        return [cost()] * 3

    return run


def _tuners(strategy: Strategy) -> list[Any]:
    found = [tuner for kernel in strategy.kernels for tuner in kernel.tuners if len(tuner.configs) > 1]
    return list({id(tuner): tuner for tuner in found}.values())


def configurations(strategy: Strategy) -> int:
    """How many configurations the most tuned of a strategy's kernels has; 0 where none is tuned."""
    return max((len(tuner.configs) for tuner in _tuners(strategy)), default=0)


def first_call(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients as its tuners choose anew."""
    for tuner in _tuners(strategy):
        tuner.cache.clear()
    return gradients(strategy, dims, values)


def by_configuration(strategy: Strategy, dims: Dims, values: Sequence[Values], number: int) -> Answer:
    """Output and gradients where each tuner takes its configuration of this number (its last, where it has fewer).

    A configuration that is pruned, or that does not compile at these sizes, gives way to the first that is left.
    """
    with _forced(_tuners(strategy), number):
        return gradients(strategy, dims, values)


@contextmanager
def _forced(tuners: Sequence[Any], number: int) -> Iterator[None]:
    place = itertools.count()
    for tuner in tuners:
        tuner.cache.clear()
        tuner.prune_configs = _one_first(tuner, number)
        tuner.do_bench = _benchmark(1, lambda: next(place))  # what is run first is taken
    try:
        yield
    finally:
        for tuner in tuners:
            del tuner.prune_configs, tuner.do_bench
            tuner.cache.clear()


def _one_first(tuner: Any, number: int) -> Callable[[dict[str, Any]], list[Any]]:
    prune, wanted = tuner.prune_configs, tuner.configs[min(number, len(tuner.configs) - 1)]

    def prune_configs(arguments: dict[str, Any]) -> list[Any]:
        every, left = tuner.configs, prune(arguments)
        unpruned = tuner.early_config_prune(every, tuner.nargs, **arguments) if tuner.early_config_prune else every
        return [wanted, *left[:1]] if wanted in unpruned else left

    return prune_configs
