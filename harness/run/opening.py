"""Before a run: what there is, what will be done with it, and whether an earlier run can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness.records.environment import machine_digest
from harness.records.modes import MODES
from harness.records.schema import SAMPLE_SECONDS, SCHEMA, CaseStatus, CellEnd, Group, LayerFacts, StrategyFacts
from harness.records.store import CLAIMS, FILE, PACKED, Journal, Record, Run, StoreError, read
from harness.run.child import ALLOCATOR
from harness.run.conductor import Conductor
from harness.run.jobs import Cell, Job, scope_of
from harness.run.plan import Plan, make_plan
from harness.run.pool import LocalPool, Pool
from harness.run.progress import Reporter
from harness.run.shards import in_header, share
from harness.run.wanted import Machine, UsageError, Wanted

HEADER = "header"


OPTIONS = {
    "layers": "layer",
    "strategies": "strategy",
    "devices": "device",
    "dtypes": "dtype",
    "passes": "pass",
    "scope": "profile",
}
"""Fields of what is wanted, and the options that set them where they are called otherwise."""


@dataclass(frozen=True)
class Described:
    """What a worker found in the sources, and the machine it ran on."""

    layers: tuple[LayerFacts, ...]
    strategies: tuple[StrategyFacts, ...]
    broken: tuple[CaseStatus, ...]
    environment: Record

    @property
    def stack(self) -> dict[str, Any]:
        """What a gate's word depends on, beside the sources."""
        facts = {k: self.environment.get(k) for k in ("python", "torch", "cpu", "gpu")}
        triton = (self.environment.get("packages") or {}).get("triton")
        return {**facts, "triton": triton, "layerbench": harness.__version__}

    @property
    def digests(self) -> dict[str, str]:
        """Of every layer's and strategy's source, by name."""
        layers = {facts.layer: facts.digest for facts in self.layers}
        return layers | {f"{facts.layer}/{facts.strategy}": facts.digest for facts in self.strategies}


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that cannot be used.

    Raises:
        UsageError: it holds something already, or it holds no run to go on with.
    """
    if resume:
        if (out / PACKED).exists():
            raise UsageError(f"--resume: {out} is sealed and takes no more records: start a new run")
        if not (out / FILE).exists():
            raise UsageError(f"--resume: {out} holds no {FILE}; leave --resume out to start a run there")
    elif out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give --out a folder")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: choose another --out, or go on with a bench run in it by bench --resume")


def describe(
    sources: tuple[str, ...], scratch: Path, timeout: float, reporter: Reporter, pool: Pool | None = None
) -> Described:
    """Let a worker import everything, on this machine or in a pool; nothing is written to the run yet."""
    found: list[Record] = []
    journal = Journal(scratch / "describe")
    cell = Cell("describe", (), Group("", "", "", "cpu", 1))
    job = Job((cell,), sources, "cpu", 1, 0, 0.0)
    reporter.now("reading the layers and strategies")
    try:
        Conductor(journal, reporter, pool or LocalPool(scratch), timeout, heard=found.append).run([job])
    finally:
        journal.close()

    def rebuilt(kind: type, name: str) -> Any:
        fields = {f.name for f in dataclasses.fields(kind)}
        for record in found:
            if record["kind"] == name:
                yield kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in fields})

    environment = next(r for r in found if r["kind"] == "environment")
    statuses = [s for s in rebuilt(CaseStatus, "status") if not s.strategy]
    broken = {s.layer: s for s in statuses}  # a worker that a layer kills says so, and its next one too
    layers, strategies = tuple(rebuilt(LayerFacts, "layer")), tuple(rebuilt(StrategyFacts, "strategy"))
    return Described(layers, strategies, tuple(broken.values()), environment)


def plan(wanted: Wanted, described: Described, sources: tuple[str, ...]) -> Plan:
    """Plan a run on the machine that the worker described.

    Raises:
        UsageError: something is wanted that does not exist, or a layer that does not load.
    """
    broken = {b.layer: b for b in described.broken}
    known = {layer.layer for layer in described.layers}
    for name in wanted.layers or (() if known else tuple(broken)):
        if name in broken:
            raise UsageError(f"layer {name} cannot be used: {broken[name].reason}")
    orphans = [s for s in described.strategies if s.layer not in known | set(broken)]
    if orphans:
        raise UsageError(
            f"{orphans[0].path} is a strategy of {orphans[0].layer!r}, which is no layer here: define"
            f" `layer = Layer(...)` in the folder's __init__.py, or name one of {', '.join(sorted(known))}"
        )
    there = described.environment
    cores = min(there.get("physical_cores") or 1, len(there.get("affinity") or [0]))
    memory = {"cpu": int(there.get("memory_bytes") or 0), "cuda": int(there.get("gpu_memory_bytes") or 0)}
    machine = Machine(bool(there.get("gpu")), bool(there.get("compiler")), cores, memory)
    strategies = [s for s in described.strategies if s.layer in known]
    return share(make_plan(wanted, described.layers, strategies, machine, sources))


def declare(folder: Path, claims: Path | None) -> str | None:
    """Copy a file of claims into a run's folder before anything has run, and give its SHA-256.

    Raises:
        StoreError: it cannot be copied.
    """
    if claims is None:
        return None
    try:
        data = claims.read_bytes()
        (folder / CLAIMS).write_bytes(data)
    except OSError as error:
        raise StoreError(f"cannot copy {claims} to {folder}: {error.strerror}") from None
    return hashlib.sha256(data).hexdigest()


def write_header(
    journal: Journal, planned: Plan, described: Described, measure: bool, attempt: int, declared: str | None,
    one_machine: bool = True,
) -> None:  # fmt: skip
    """Everything that is known before the run, closed as a cell of its own.

    Without ``one_machine`` it will be carried out on several of a kind, so it does not say on which.
    """
    chosen = set(planned.wanted.layers)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    header = {
        "kind": "run",
        "schema": SCHEMA,
        "started": started,
        "machine": machine_digest(started) if one_machine else None,
        "sources": [Path(s).name for s in planned.sources],
        "wanted": dataclasses.asdict(planned.wanted),
        "baselines": planned.baselines,
        "groups": in_header(planned.passes) if measure else [],
        "plan": planned.digest,
        "passes": list(planned.profile.passes),
        "modes": MODES,
        "launches": planned.launches,
        "devices": list(planned.wanted.devices),
        "looks": planned.looks,
        "sample_seconds": SAMPLE_SECONDS,
        "allocator": ALLOCATOR if planned.wanted.allocator == "fixed" else {},
        "stack": described.stack,
        "digests": described.digests,
        "declared": declared,
        "profile_claims": list(planned.profile.claims),
    }
    layers = [f for f in described.layers if f.layer in chosen]
    strategies = [f for f in described.strategies if f.layer in chosen]
    items = [header, described.environment, *layers, *strategies, *described.broken, *planned.statuses, CellEnd(0.0)]
    journal.write(items, HEADER, attempt)


def header_without_groups(wanted: Wanted, device: str) -> Record:
    """Of a run that compares no strategies."""
    nothing = {"sources": [], "baselines": {}, "groups": [], "passes": [], "launches": 0, "devices": [device]}
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"kind": "run", "schema": SCHEMA, "started": started, "wanted": dataclasses.asdict(wanted), **nothing}


def earlier_run(folder: Path) -> Run | None:
    """The run to go on with; None where not even its header was finished.

    Raises:
        UsageError: it was begun by an earlier version, whose passes may be others than those of today.
    """
    try:
        run = read(folder)
    except StoreError as error:
        if "holds no run record" in str(error):
            return None
        raise
    if run.schema < SCHEMA:
        raise UsageError(f"--resume: {folder} has records of schema {run.schema}, not {SCHEMA}: start a new run")
    return run if HEADER in run.done else None


def wanted_before(run: Run) -> Wanted:
    """What the run to go on with was asked for."""
    before: dict[str, Any] = run.of("run")[0]["wanted"]
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in before.items()}
    return Wanted(**{**fields, "scope": scope_of(before.get("scope", {}))})


def refuse_what_has_changed(run: Run, described: Described, asked: Wanted) -> None:
    """A run goes on only as it began.

    Raises:
        UsageError: sources or software have changed, or something else is asked for now.
    """
    header = run.of("run")[0]
    before = wanted_before(run)
    if before.measure != asked.measure or not header["groups"]:
        raise UsageError("--resume: that folder holds a run that measures nothing, such as verify's: start a new run")
    for field in dataclasses.fields(Wanted):
        value = getattr(asked, field.name)
        if value != getattr(Wanted(), field.name) and value != getattr(before, field.name):
            option = OPTIONS.get(field.name, field.name)
            raise UsageError(f"--resume goes on as the run began: leave out --{option}, or start a new run")
    changed = _differences(header["digests"], described.digests)
    if changed:
        raise UsageError(f"changed since the run began: {', '.join(changed)}; start a new run instead of --resume")
    stack = _differences(header["stack"], described.stack)
    if stack:
        raise UsageError(f"another {', '.join(stack)} than when the run began: start a new run instead of --resume")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Sequence[str]:
    return [name for name, value in before.items() if now.get(name) != value]
