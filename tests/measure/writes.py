"""What writing new contents before each timed call changes: ``python -m tests.measure.writes``, on a quiet core.

Each comparison is made with the writes and without, in turns, so that what disturbs one disturbs the other.

* ``identical``: of identical code in seven arms, the errors of a ratio, at several sizes.
* ``ratios``: of strategies that are bound by memory, at their layer's first size, the ratio to plain autograd with the
  writes and without, and the standard deviation of each from repeat to repeat. What the writes cost the measured arms
  cancels where they agree. A third time each write is followed by an untimed call on the same contents, as no meter
  that is to be believed may do: it shows whether what is left is where the caches hold the operands.
"""

import argparse
import gc
import math
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.measure.clock import CpuClock
from harness.measure.draws import Draws
from harness.measure.passes import Call, ready
from harness.measure.sampler import Arm, Series, sample, warm_up
from harness.run.child import ALLOCATOR
from harness.run.worker import pin
from harness.run.workload import pool, workload

SIDES, ARMS = (32, 96, 256, 320), 7
LAYERS, STRATEGIES = ("weighted_sum", "rms_norm"), ("autograd", "library", "function")
PASSES = ("forward", "forward_backward")
HOW = {True: "written", False: "same contents"}
CALLED = "written and called"


def _sampled(arms: list[Arm], draws: Draws | None, seconds: float, seed: int) -> list[Series]:
    return sample(arms, CpuClock(), seconds, random.Random(seed), most_rounds=10**6, draws=draws)[0]


def _log(one: Series, other: Series) -> float:
    return median(math.log(b / a) for a, b in zip(one.call_seconds, other.call_seconds, strict=True))


def _in_turns(repeats: int) -> Iterator[tuple[int, bool]]:
    for repeat in range(repeats):
        for written in random.Random(repeat).sample((True, False), 2):
            yield repeat, written


def identical(repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """A row for each size, with the writes and without."""
    for side in SIDES:
        dims = {"B": side, "I": side, "O": side}
        draws = {True: pool(dims), False: None}
        arms = {
            w: [Arm(str(n), False, workload(dims, d).calls["forward_backward"]) for n in range(ARMS)]
            for w, d in draws.items()
        }
        off: dict[bool, list[float]] = defaultdict(list)
        last: dict[bool, Series] = {}
        for repeat, written in _in_turns(repeats):
            series = _sampled(arms[written], draws[written], seconds, repeat)
            off[written] += [abs(math.expm1(_log(a, b))) for a, b in combinations(series, 2)]
            last[written] = series[0]
        for written, errors in off.items():
            one = last[written]
            row = {"side": side, "contents": HOW[written], "us": median(one.call_seconds) * 1e6, "calls": one.calls}
            row |= {"rounds": len(one.samples), "median": f"{np.median(errors):.2%}"}
            yield row | {"90th percentile": f"{np.quantile(errors, 0.9):.2%}", "largest": f"{max(errors):.2%}"}


def ratios(repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """A row for each layer, pass and strategy."""
    entries = {(e.layer, e.strategy): e for e in scan(("implementations",))}
    for name in LAYERS:
        layer = load(entries[name, None]).value
        dims = layer.sizes["cpu"]["quick"][0]
        values = draw(layer, dims, torch.float32, "cpu", 0)
        draws = {True: Draws(layer, dims, values, 0), False: None}
        made = {
            w: {s: ready(layer, load(entries[name, s]).value, dims, values, d).calls for s in STRATEGIES}
            for w, d in draws.items()
        }
        for passed in PASSES:
            arms = {w: [Arm(s, False, calls[passed]) for s, calls in own.items()] for w, own in made.items()}
            for arm in (*arms[True], *arms[False]):
                warm_up(arm.call, CpuClock())
            logs: dict[tuple[str, str], list[float]] = defaultdict(list)
            times: dict[tuple[str, str], list[float]] = defaultdict(list)
            called = [replace(arm, call=_called_before(arm.call)) for arm in arms[True]]
            for repeat, written in _in_turns(repeats):
                turns = [(HOW[written], arms[written]), *([(CALLED, called)] if written else [])]
                for how, own in turns:
                    series = _sampled(own, draws[written], seconds, repeat)
                    for one in series:
                        logs[how, one.arm.strategy].append(_log(series[0], one))
                        times[how, one.arm.strategy].append(median(one.call_seconds))
            for strategy in STRATEGIES:
                row: dict[str, object] = {"layer": name, "dims": dims, "pass": passed, "strategy": strategy}
                for how in (HOW[False], HOW[True], CALLED):
                    logarithms = logs[how, strategy]
                    row[f"us, {how}"] = median(times[how, strategy]) * 1e6
                    row[f"ratio, {how}"] = f"{math.exp(np.mean(logarithms)):.4f} (SD {np.std(logarithms):.2%})"
                for how in (HOW[True], CALLED):
                    apart = [a - b for a, b in zip(logs[how, strategy], logs[HOW[False], strategy], strict=True)]
                    error = np.std(apart) / math.sqrt(len(apart))
                    row[f"apart by, {how}"] = f"{np.mean(apart):+.2%} ± {error:.2%}"
                yield row


def _called_before(call: Call) -> Call:
    """The same call after an untimed one on the same contents."""

    def prepare() -> object:
        call.run(call.prepare())
        return call.prepare()

    return replace(call, prepare=prepare)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.measure.writes")
    parser.add_argument("--repeats", type=int, default=10, help="of each comparison, with the writes and without")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each of them")
    parser.add_argument("--out", type=Path, help="a folder for the tables, as CSV")
    given = parser.parse_args()
    alone = {**ALLOCATOR, "OMP_NUM_THREADS": "1"}
    if any(os.environ.get(name) != value for name, value in alone.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.measure.writes", *sys.argv[1:]], os.environ | alone)
    pin(1)
    torch.set_num_threads(1)
    gc.disable()
    for table in (identical, ratios):
        frame = pd.DataFrame(table(given.repeats, given.seconds))
        print(frame.to_markdown(index=False, floatfmt=".4g"), flush=True)
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            frame.to_csv(given.out / f"{table.__name__}.csv", index=False, float_format="%.4g")
    return 0


if __name__ == "__main__":
    sys.exit(main())
