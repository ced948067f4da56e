"""The meter beside the tools that people use: what they say of the same calls, and of identical code.

They time one arm, then the other, each for half of what our comparison takes; their own summary of an arm is taken.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from torch.utils.benchmark import Timer

from harness.measure.clock import CpuClock, total
from harness.measure.sampler import REWARM_CALLS, warm_up
from harness.records.meter import Proof, proof, shown
from harness.run.workload import COMPARISON_SECONDS, MARGIN, ninth_decile, workload

AGREEMENT_ROUNDS = 50


def agreement() -> Iterator[Proof]:
    """The same calls by our clock and by ``torch.utils.benchmark``, in paired rounds of one process."""
    call = workload().calls["forward_backward"]
    timer, clock = Timer("run(prepare())", globals=vars(call)), CpuClock()
    warm_up(call, clock)
    order = random.Random(0)
    logs = []
    for _ in range(AGREEMENT_ROUNDS):
        taken = {}
        for ours in order.sample((True, False), 2):
            clock.spans(call, REWARM_CALLS)
            taken[ours] = total(clock, call, 20) / 20 if ours else timer.timeit(20).mean
        logs.append(math.log(taken[True] / taken[False]))
    off = math.expm1(median(logs))
    yield proof("agreement", "over torch.utils.benchmark", off, -0.05, 0.05, "ratio")


def by_timer(comparisons: int, seconds: float = COMPARISON_SECONDS) -> Iterator[Proof]:
    """The same comparisons as other tools make them: one arm, then the other, in the same time."""
    off = []
    for _ in range(comparisons):
        one, other = (
            Timer("run(prepare())", globals=vars(workload().calls["forward_backward"]))
            .blocked_autorange(min_run_time=seconds / 2).median
            for _ in range(2)
        )  # fmt: skip
        off.append(abs(other / one - 1))
    yield from _shown("torch.utils.benchmark", off)


def by_pytest_benchmark(comparisons: int, seconds: float = COMPARISON_SECONDS) -> Iterator[Proof]:
    """The same by pytest-benchmark, as a test suite would: a test for each arm, the median of its rounds.

    Raises:
        CalledProcessError: pytest failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        suite, found = Path(folder, "test_arms.py"), Path(folder, "found.json")
        suite.write_text(_SUITE.format(arms=2 * comparisons))
        command = [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--rootdir",
            folder,
        ]
        options = [str(suite), "--benchmark-max-time", str(seconds / 2), "--benchmark-json", str(found)]
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=alone)
        arms = [each["stats"]["median"] for each in json.loads(found.read_text())["benchmarks"]]
    off = [abs(other / one - 1) for one, other in zip(arms[::2], arms[1::2], strict=True)]
    yield from _shown("pytest-benchmark", off)


_SUITE = """
import pytest
import torch

from harness.run.workload import workload

torch.set_num_threads(1)


@pytest.mark.parametrize("arm", range({arms}))
def test_arm(benchmark, arm):
    call = workload().calls["forward_backward"]
    benchmark(lambda: call.run(call.prepare()))
"""


def _shown(name: str, off: Sequence[float]) -> Iterator[Proof]:
    yield shown(name, f"error of a ratio, median of {len(off)}", median(off), "ratio")
    yield shown(name, "error of a ratio, 90th percentile", ninth_decile(off), "ratio")
    yield shown(name, f"outside a margin of {MARGIN:.0%}, of {len(off)}", sum(x > MARGIN for x in off), "count")
