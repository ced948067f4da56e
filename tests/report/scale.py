"""What a report costs on runs of 1,000, 10,000 and 100,000 records: ``python -m tests.report.scale [RECORDS ...]``.

Shows CPU seconds and the highest resident memory of each, in a process of its own.
"""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.schema import SCHEMA
from tests.analyse.recorded import write

LAYERS = ("one", "two", "three", "four")
STRATEGIES = ("plain", "shelf", "made", "hand", "kernel", "whole")
LOOKS = tuple(zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"), "osD^vP", ("-", "--", "-.", ":", "-", "--"), strict=True))  # fmt: skip
PASSES = ("forward", "forward_backward", "step")
LAUNCHES, ROUNDS = 8, 11
MATRIX = ("double_backward", "forward_ad", "compile", "layouts", "repeats", "fresh_process")


def records(count: int) -> Iterator[dict[str, Any]]:
    """A run of about so many records: half samples, most of the others checks, as in real ones."""
    rng = np.random.default_rng(0)
    sizes = [f"N={2**n},D={2**n}" for n in range(4, 13)]
    series = product(("float32", "bfloat16"), (1, 2, 4, 8))
    per_group = len(PASSES) * (len(STRATEGIES) + 1) * LAUNCHES
    each = math.ceil(count / 2 / per_group / len(LAYERS))
    cases = list(islice(product(series, sizes), each))
    groups = [
        {"layer": layer, "dims": dims, "dtype": dtype, "device": "cpu", "threads": threads}
        for layer in LAYERS
        for (dtype, threads), dims in cases
    ]
    wanted = {"layers": list(LAYERS), "strategies": list(STRATEGIES), "baseline": "", "scope": {}, "profile": "full"}
    yield {
        "kind": "run", "schema": SCHEMA, "wanted": wanted, "baselines": dict.fromkeys(LAYERS, "plain"), "devices": ["cpu"],
        "groups": groups, "passes": list(PASSES), "launches": LAUNCHES, "sources": ["layers"], "started": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    yield {"kind": "environment", "cpu": "A CPU", "torch": "2.13", "packages": {"torch": "2.13"}, "unknown": {}}
    for layer in LAYERS:
        yield {"kind": "layer", "layer": layer, "title": layer, "formula": "y", "task_title": "t", "task_naive": "zero",
               "naive_loss": 1.0, "target_loss": 0.1}  # fmt: skip
        for place, (name, look) in enumerate(zip(STRATEGIES, LOOKS, strict=True)):
            yield {
                "kind": "strategy", "layer": layer, "strategy": name, "simplicity": place, "summary": name, "needs": [],
                "devices": ["cpu"], **dict(zip(("color", "marker", "dash"), look, strict=True)),
            }  # fmt: skip
            losses = list(np.geomspace(1, 0.05, 101))
            yield {
                "kind": "training", "layer": layer, "strategy": name, "dtype": "float32", "device": "cpu", "result": "ok", "steps": 100,
                "starts": 1, "losses": losses, "oracle_losses": losses, "final_loss": 0.05, "error": 1e-8, "bound": 1e-6,
                "detail": "", "verdict": "equivalent",
            }  # fmt: skip
    checks = (count - len(groups) * (per_group + len(STRATEGIES) * 2 + len(PASSES))) // len(LAYERS) // len(STRATEGIES)
    for layer, name in product(LAYERS, STRATEGIES):
        for n in range(checks):
            yield {
                "kind": "check", "layer": layer, "strategy": name, "check": MATRIX[n] if n < len(MATRIX) else "values", "dtype": "float32",
                "device": "cpu", "dims": f"N={n},D=4", "tensor": f"gradient of x{n % 3}", "result": "ok", "error": 1.0, "bound": 2.0,
                "reference_error": 1.0, "draws": 8, "seed": 0, "detail": "bitwise" if n in (4, 5) else "", "setting": "", "upstream": "",
            }  # fmt: skip
    for threads in (1, 2, 4, 8):
        yield from ({"kind": "roof", "device": "cpu", "threads": threads, "what": "copy", "dtype": "", "footprint": 2**n,
                     "per_second": 1e10} for n in range(16, 30, 2))  # fmt: skip
        yield from ({"kind": "roof", "device": "cpu", "threads": threads, "what": "product", "dtype": dtype, "footprint": 0,
                     "per_second": 1e11} for dtype in ("float32", "bfloat16"))  # fmt: skip
    for group in groups:
        yield from _measured(group, rng)


def _measured(group: dict[str, Any], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    elements = math.prod(int(pair.split("=")[1]) for pair in group["dims"].split(","))
    for place, name in enumerate(STRATEGIES):
        held = dict.fromkeys(
            ("saved", "forward_peak", "backward_peak", "step_peak", "least"), 4 * elements * (place + 1)
        )
        yield {"kind": "memory", **group, "strategy": name, "left": 0, **held}
        yield {"kind": "first_call", **group, "strategy": name, "launch": 0, "cold": True, "seconds": 1.0 + place}
    for passed in PASSES:
        yield {"kind": "work", **group, "pass": passed, "flops": 8 * elements, "bytes": 12 * elements}
        for launch in range(1, LAUNCHES + 1):
            arms = [*((name, False) for name in STRATEGIES), (STRATEGIES[0], True)]
            for place, (name, again) in enumerate(arms):
                seconds = 1e-8 * elements * (1 + 0.1 * (place % 6)) * rng.lognormal(0, 0.01, ROUNDS)
                yield {
                    "kind": "samples", **group, "strategy": name, "again": again, "pass": passed, "launch": launch, "calls": 1,
                    "seconds": seconds.tolist(), "order": [0] * ROUNDS, "faults": [0] * ROUNDS, "switches": [0] * ROUNDS,
                    "cpu_seconds": [1.0] * ROUNDS, "wall_seconds": [1.0] * ROUNDS, "steady": True, "digest": "x",
                }  # fmt: skip


def measure(folder: Path) -> str:
    """Report on a run in this process; what that took."""
    from harness.records.store import read
    from harness.report import everything

    started, cpu = time.perf_counter(), os.times()
    run = read(folder)
    paths = everything.write_all(run, folder)
    used = os.times()
    seconds = sum(used[:4]) - sum(cpu[:4])
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    found = sum(len(records) for kind, records in run.records.items() if kind != "cell")
    return (
        f"{found:>7,} records: {time.perf_counter() - started:5.1f} s, {seconds:5.1f} s of CPU, "
        f"{peak:.2f} GiB, {len(paths)} files, {sum(p.stat().st_size for p in paths) / 2**20:.1f} MiB"
    )


def main(arguments: list[str]) -> None:
    """Make runs and measure each in a fresh process; or, given a folder, measure it here."""
    if arguments and Path(arguments[0]).is_dir():
        print(measure(Path(arguments[0])))
        return
    for count in map(int, arguments or ("1000", "10000", "100000")):
        with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
            folder = write(Path(scratch) / "run", list(records(count)))
            subprocess.run([sys.executable, "-m", "tests.report.scale", str(folder)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
