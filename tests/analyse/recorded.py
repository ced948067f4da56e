"""Simulated runs with a known answer: strategies with stated times, noise, bytes, first calls and gate results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.analyse.contending import Evidence, evidence
from harness.records.schema import SCHEMA
from harness.records.store import FILE, read

ORDER = ("plain", "shelf", "made", "hand")
SIZES = ("N=16,D=16", "N=64,D=64", "N=256,D=256")
EXACT = 0.002
"""Spread of the noise between launches, small beside the tie band of 2 %."""


def _strategies(needs: Mapping[str, Any]) -> list[dict[str, Any]]:
    looks = {"plain": ("#0072B2", "o", "-"), "made": ("#009E73", "D", "-.")}
    return [
        {
            "kind": "strategy", "layer": "one", "strategy": name, "simplicity": place, "summary": f"The {name} way.",
            "needs": needs.get(name, []), "devices": ["cpu"], "path": f"one/{name}.py",
            **dict(zip(("color", "marker", "dash"), looks.get(name, (None,) * 3), strict=True)),
        }
        for place, name in enumerate(ORDER)
    ]  # fmt: skip


def check(strategy: str, name: str, result: str = "ok", **more: Any) -> dict[str, Any]:
    """A record of a check."""
    return {
        "kind": "check", "layer": "one", "strategy": strategy, "check": name, "dtype": "float32", "device": "cpu",
        "dims": "N=4,D=4", "tensor": "output", "result": result, "error": 1.0, "bound": 2.0, "reference_error": 1.0,
        "draws": 8, "seed": 0, "detail": "", "setting": "", "upstream": "", **more,
    }  # fmt: skip


def records(
    times: Mapping[str, Mapping[str, float]],
    *,
    noise: Mapping[str, float] | float = EXACT,
    held: Mapping[str, int] | None = None,
    first: Mapping[str, float] | None = None,
    failed: Mapping[str, str] | None = None,
    checks: list[dict[str, Any]] | None = None,
    needs: Mapping[str, Any] | None = None,
    launches: int = 8,
    passes: tuple[str, ...] = ("forward_backward", "step"),
    cuda: bool = False,
) -> list[dict[str, Any]]:
    """A run.

    Args:
        times: seconds a call, by size and strategy; one that is missing was not measured there.
        noise: standard deviation of the logarithm, launch by launch, of a strategy's time.
        held, first: bytes of every pass, seconds of the cold first call, by strategy.
        failed: strategies that did not pass the gate, and why.
    """
    rng = np.random.default_rng(1)
    device = "cuda" if cuda else "cpu"
    groups = [{"layer": "one", "dims": d, "dtype": "float32", "device": device, "threads": 1} for d in times]
    wanted = {"layers": ["one"], "strategies": list(ORDER), "baseline": "", "scope": {}}
    found: list[dict[str, Any]] = [
        {"kind": "run", "schema": SCHEMA, "wanted": wanted, "baselines": {"one": "plain"}, "devices": [device], "groups": groups,
         "passes": list(passes), "launches": launches, "sources": ["implementations"], "started": "2026-01-01T00:00:00Z"},
        {"kind": "environment", "cpu": "A CPU", "torch": "2.13", "packages": {"torch": "2.13"}, "unknown": {}, "commit": "abc"},
        {"kind": "layer", "layer": "one", "title": "a layer", "formula": "y = x·w", "task_title": "t", "task_naive": "zero", "naive_loss": 1.0, "target_loss": 0.1},
        *_strategies(needs or {}),
        *(checks or []),
    ]  # fmt: skip
    for name, why in (failed or {}).items():
        found.append({"kind": "status", "layer": "one", "strategy": name, "status": "wrong", "reason": why, "stage": "gate",
                      "dims": "", "dtype": "", "device": device, "threads": 0, "pass": ""})  # fmt: skip
    for name in ORDER:
        found.append({"kind": "training", "layer": "one", "strategy": name, "dtype": "float32", "device": device, "result": "ok",
                      "steps": 2, "starts": 1, "losses": [1.0, 0.5, 0.05], "oracle_losses": [1.0, 0.5, 0.05], "final_loss": 0.05,
                      "error": 1e-8, "bound": 1e-6, "detail": "", "verdict": "equivalent"})  # fmt: skip
    for group in groups:
        own = {n: t for n, t in times[group["dims"]].items() if n not in (failed or {})}
        for name in own:
            if held is not None:
                found.append({"kind": "memory", **group, "strategy": name, "left": 0,
                              **dict.fromkeys(("saved", "forward_peak", "backward_peak", "step_peak"), held[name])})  # fmt: skip
            if first is not None:
                found.append({"kind": "first_call", **group, "strategy": name, "launch": 0, "cold": True, "seconds": first[name]})  # fmt: skip
        for passed in passes:
            for launch in range(1, launches + 1):
                arms = [(n, False, t) for n, t in own.items()]
                arms += [("plain", True, own["plain"])] if "plain" in own else []
                for name, again, t in arms:
                    spread = noise if isinstance(noise, float) else noise.get(name, EXACT)
                    seconds = t * rng.lognormal(0, spread) * rng.lognormal(0, 0.001, 7)
                    found.append({
                        "kind": "samples", **group, "strategy": name, "again": again, "pass": passed, "launch": launch, "calls": 10,
                        "seconds": [float(10 * s) for s in seconds], "order": [0] * 7, "faults": [0] * 7, "switches": [0] * 7,
                        "cpu_seconds": [1.0] * 7, "wall_seconds": [1.0] * 7, "steady": True, "digest": "x",
                    })  # fmt: skip
    return found


def write(folder: Path, items: list[dict[str, Any]]) -> Path:
    """Records in a folder, each a closed cell of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, item in enumerate(items):
        lines.append(json.dumps({"cell": f"c{number}", "attempt": 1, **item}))
        lines.append(json.dumps({"kind": "cell", "cell": f"c{number}", "attempt": 1, "seconds": 0}))
    (folder / FILE).write_text("\n".join(lines) + "\n")
    return folder


def have(folder: Path, times: Mapping[str, Mapping[str, float]], **more: Any) -> Evidence:
    """What answers about such a run are taken from."""
    return evidence(read(write(folder, records(times, **more))))
