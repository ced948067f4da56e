"""Bundles that are made up: a run with times that a test chooses, its gate and its memory, sealed."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.publish import claims as claiming
from harness.publish import seal as sealing
from harness.publish.claims import Claim
from harness.records.schema import Check, Group, Memory, Training
from harness.records.store import Run
from tests.analyse.made_up import GROUP, about, header, samples, strategy, write

TIMES = {"autograd": 1e-4, "fast": 5e-5, "same": 1e-4}
DIGESTS = {"wave": "a", "wave/autograd": "b", "wave/fast": "c", "wave/same": "d"}
RATIO = Claim("fast-twice", "ratio", "wave", "fast", "autograd", dtype="float32", passed="forward", threshold=1.5)
WINNER = Claim("fast-wins", "winner", "wave", "fast", dtype="float32", passed="forward")
MEMORY = Claim("fast-small", "memory", "wave", "fast", "autograd", dtype="float32", operator="<=", threshold=0.5)
CORRECT = Claim("all-correct", "correct", "wave", operator="<=")
CONVERGES = Claim("all-converge", "converges", "wave", operator="<=")
BITS = Claim("fast-bits", "bits", "wave", "fast", operator="<=")
CLAIMS = (RATIO, WINNER, MEMORY, CORRECT, CONVERGES, BITS)


def machine(salt: str) -> str:
    """The digest of this made-up machine."""
    return f"machine-{salt}"


def gate_of(name: str, result: Any = "ok", weights: str = "w") -> list[Any]:
    """What the gate found of a strategy."""
    check = Check("wave", name, "values", "float32", "cpu", "N=4,D=8", "output", result, 1e-7, 1e-6, 1e-7, 8)
    losses = [1.0, 0.5]
    trained = Training(
        "wave", name, "float32", "cpu", "ok", 2, 8, losses, losses, 0.5, 1e-8, 1e-6, "", "equivalent", weights
    )
    return [check, trained]


def run(
    folder: Path, times: Mapping[str, float] = TIMES, launches: int = 8, seed: int = 0, wander: float = 0.0,
    group: Group = GROUP, extra: Sequence[Any] = (), digest: str = "d", weights: str = "w",
    **head: Any,
) -> Run:  # fmt: skip
    """A whole run; with ``wander`` each launch has a factor of its own for each strategy."""
    rng = np.random.default_rng(seed)
    items: list[Any] = [{"kind": "layer", "layer": "wave", "task_title": "t", "task_naive": "zero", "naive_loss": 1.0,
                         "target_loss": 0.1}]  # fmt: skip
    for number, name in enumerate(times):
        items += [strategy(name, number), *gate_of(name, weights=weights)]
        own = 4096 if name == "autograd" else 1024
        items.append(Memory(group, name, own, own, own, own, 0))
    for launch in range(1, launches + 1):
        for name, t in times.items():
            t = t * float(np.exp(rng.normal(0, wander)))
            items.append(dataclasses.replace(samples(name, launch, about(t), rng, group=group), digest=digest))
        items.append(samples("autograd", launch, about(times["autograd"]), rng, again=True, group=group))
    wanted = {"strategies": list(times), "layers": ["wave"], "scope": {}, "seed": 0}
    started = "2026-01-01T00:00:00Z"
    more = {"wanted": wanted, "digests": DIGESTS, "machine": machine(started), **head}
    return write(folder, *items, *extra, head=header(group, **more))


def sealed(folder: Path, claims: Sequence[Claim] = CLAIMS, **more: Any) -> Path:
    """A bundle."""
    run(folder, **more)
    declared = folder.parent / f"{folder.name}.toml"
    declared.write_text(claiming.to_toml(claims))
    sealing.seal(folder, declared)
    return folder
