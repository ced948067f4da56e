"""What the sampler's numbers stand on: ``python -m tests.measure.samples``, six minutes on a quiet core.

* ``carried``: by how much the first calls after another arm's are longer than later ones, by layer and strategy. So
  many of them must go untimed.
* ``lengths``: of identical code in seven arms, timed for a second, the standard deviation of the arms' log-ratios, for
  samples of several lengths, by the mean of a sample's calls and by their interquartile mean.
"""

import argparse
import gc
import math
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.measure.clock import CpuClock
from harness.measure.passes import Call, ready
from harness.measure.sampler import Arm, Series, sample
from harness.run.child import ALLOCATOR
from harness.run.worker import pin
from harness.run.workload import workload

GROUPS = (
    ("affine", {"B": 64, "I": 64, "O": 64, "gelu": 0}), ("affine", {"B": 256, "I": 256, "O": 256, "gelu": 0}),
    ("weighted_sum", {"N": 1024, "D": 1024}), ("rms_norm", {"N": 1024, "D": 1024}),
    ("swiglu", {"B": 256, "I": 128, "H": 352, "O": 128}), ("decay_attention", {"B": 4, "H": 4, "T": 128, "D": 64}),
)  # fmt: skip
STRATEGIES = ("autograd", "function", "func", "library")
CALLS, LATER, CARRIED_SECONDS = 10, 6, 8.0
"""After another arm's: how many are timed, and from which on they are taken for warm."""
LENGTHS = (0.5e-3, 1e-3, 2e-3, 4e-3, 8e-3)
SIDES, ARMS, REPEATS = (32, 96, 160, 256, 320), 7, 10


def carried() -> Iterator[dict[str, object]]:
    """A row for each layer, pass and strategy: how much longer each call after another arm's takes, as a share."""
    entries = {(e.layer, e.strategy): e for e in scan(("implementations",))}
    clock, rng = CpuClock(), random.Random(0)
    for name, dims in GROUPS:
        layer = load(next(e for e in entries.values() if e.layer == name and e.strategy is None)).value
        values = draw(layer, dims, torch.float32, "cpu", 0)
        arms = {s: ready(layer, load(entries[name, s]).value, dims, values).calls for s in STRATEGIES}
        for passed in ("forward", "forward_backward"):
            calls: dict[str, Call] = {s: made[passed] for s, made in arms.items()}
            spans: dict[str, list[list[float]]] = defaultdict(list)
            end = time.perf_counter() + CARRIED_SECONDS
            while time.perf_counter() < end:
                for strategy in rng.sample(STRATEGIES, len(STRATEGIES)):
                    spans[strategy].append(list(clock.spans(calls[strategy], CALLS)))
            for strategy, found in spans.items():
                taken = np.array(found, dtype=float)
                longer = np.median(taken / taken[:, LATER:].mean(axis=1, keepdims=True), axis=0) - 1
                row = {"layer": name, "dims": dims, "pass": passed, "strategy": strategy, "rounds": len(found)}
                row["us"] = float(np.median(taken[:, LATER:])) / 1e3
                yield row | {f"call {n + 1}": f"{x:+.1%}" for n, x in enumerate(longer[:LATER])}


def lengths() -> Iterator[dict[str, object]]:
    """A row for each size and length of samples."""
    for side in SIDES:
        arms = [
            Arm(str(n), False, workload({"B": side, "I": side, "O": side}).calls["forward_backward"])
            for n in range(ARMS)
        ]
        logs: dict[tuple[float, str], list[float]] = defaultdict(list)
        last: dict[float, list[Series]] = {}
        for repeat in range(REPEATS):
            for length in random.Random(repeat).sample(LENGTHS, len(LENGTHS)):  # in turns: what disturbs, disturbs all
                series, _ = sample(
                    arms, CpuClock(), 1.0, random.Random(repeat), most_rounds=10**6, sample_seconds=length
                )
                last[length] = series
                means = [[s / one.calls for s in one.seconds] for one in series]
                for how, times in (("mean", means), ("interquartile mean", [one.call_seconds for one in series])):
                    for a, b in combinations(times, 2):
                        logs[length, how].append(median(math.log(y / x) for x, y in zip(a, b, strict=True)))
        for length, series in sorted(last.items()):
            one = series[0]
            row = {
                "side": side,
                "us": median(one.call_seconds) * 1e6,
                "sample ms": length * 1e3,
                "untimed": one.untimed,
            }
            row |= {"timed": one.calls, "rounds": len(one.samples)}
            yield row | {how: f"{np.std(logs[length, how]):.2%}" for how in ("mean", "interquartile mean")}


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.measure.samples")
    parser.add_argument("--out", type=Path, help="a folder for them, as CSV")
    given = parser.parse_args()
    alone = {**ALLOCATOR, "OMP_NUM_THREADS": "1"}
    if any(os.environ.get(name) != value for name, value in alone.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.measure.samples", *sys.argv[1:]], os.environ | alone)
    pin(1)
    torch.set_num_threads(1)
    gc.disable()
    for table in (carried, lengths):
        frame = pd.DataFrame(table())
        print(frame.to_markdown(index=False, floatfmt=".4g"), flush=True)
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            frame.to_csv(given.out / f"{table.__name__}.csv", index=False, float_format="%.4g")
    return 0


if __name__ == "__main__":
    sys.exit(main())
