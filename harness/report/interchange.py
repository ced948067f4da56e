"""A run as pytest-benchmark's JSON, so that ``pytest-benchmark compare`` and what reads its files can take it.

Its statistics are of single arms: what a comparison of two of them cannot see is the pairing. Verdicts and paired
intervals therefore travel in ``extra_info``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pytest_benchmark.stats import Stats

from harness.analyse.contending import Evidence
from harness.analyse.frames import rows_of
from harness.analyse.launches import CASE, GROUP, seconds_by_case
from harness.records.store import Record

FILE = "pytest-benchmark.json"
VERSION = "5.3.1"
"""Of the format: that of the pytest-benchmark release whose files these are like."""

EARLIER_SAMPLE_SECONDS = 5e-3
"""Of runs whose header does not say."""


def to_pytest_benchmark(have: Evidence) -> dict[str, Any]:
    """The document; each case is a benchmark, its group the layer, size, dtype, device and pass."""
    environment = have.run.of("environment")[0]
    header = have.run.of("run")[0]
    seconds = seconds_by_case(have.measured)
    bytes_of = {tuple(getattr(r, c) for c in [*GROUP, "strategy"]): r for r in rows_of(have.memory)}
    benchmarks = []
    for row in rows_of(have.timing):
        if row.status != "ok":
            continue
        case = tuple(getattr(row, "passed" if c == "pass" else c) for c in CASE)
        extra = {k: _plain(getattr(row, k)) for k in _EXTRA}
        taken = bytes_of.get((*case[:5], row.strategy))
        if taken is not None and not taken.reason:
            extra |= {f"{k}_bytes": int(getattr(taken, k)) for k in ("saved", "forward_peak", "backward_peak")}
        benchmarks.append(_benchmark(dict(zip(CASE, case, strict=True)), seconds[case], extra, header))
    return {
        "machine_info": _machine(environment),
        "commit_info": {"id": environment.get("commit"), "dirty": environment.get("dirty")},
        "benchmarks": benchmarks,
        "datetime": header.get("started"),
        "version": VERSION,
    }


_EXTRA = ("ratio", "ratio_low", "ratio_high", "verdict", "margin", "launches", "flags")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _benchmark(case: dict[str, Any], seconds: list[float], extra: dict[str, Any], header: Record) -> dict[str, Any]:
    stats = Stats()
    for each in seconds:
        stats.update(each)
    where = " ".join(str(case[k]) for k in ("layer", "dims", "dtype", "device", "pass"))
    threads = f" {case['threads']} threads" if case["device"] == "cpu" else ""
    name = f"{case['strategy']}[{where}{threads}]"
    return {
        "group": where + threads,
        "name": name,
        "fullname": f"layerbench::{name}",
        "params": case,
        "param": where + threads,
        "extra_info": extra,
        "options": {
            "disable_gc": True, "timer": "perf_counter_ns", "min_rounds": 7, "max_time": None,
            "min_time": header.get("sample_seconds", EARLIER_SAMPLE_SECONDS), "warmup": True,
        },
        "stats": {**stats.as_dict(), "data": seconds, "iterations": 1},
    }  # fmt: skip


def _machine(environment: Record) -> dict[str, Any]:
    """What ``compare`` shows of a machine; no name of one."""
    return {
        "node": "",
        "machine": environment.get("machine"),
        "python_version": environment.get("python"),
        "system": environment.get("kernel"),
        "cpu": {"brand_raw": environment.get("cpu"), "count": environment.get("logical_cores")},
        "gpu": environment.get("gpu"),
        "torch": environment.get("torch"),
    }


def write(have: Evidence, folder: Path) -> Path:
    """Write the document into a run's folder."""
    path = folder / FILE
    path.write_text(json.dumps(to_pytest_benchmark(have), indent=1) + "\n", encoding="utf-8")
    return path
