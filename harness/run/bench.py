"""A whole run, from describing the sources to the last launch; ``verify`` is the same without the measuring."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from harness.layers.discover import scan
from harness.records.schema import SCHEMA, CaseStatus, Group, LayerFacts, StrategyFacts, as_record
from harness.records.store import FILE, Journal, Record, Run, read
from harness.run.conductor import Conductor, OutOfTimeError
from harness.run.jobs import Cell, Job
from harness.run.plan import Failures, Machine, Plan, UsageError, Wanted, make_plan
from harness.run.progress import Reporter

REPORT_SECONDS = 20.0
FEWEST_LAUNCHES = 5


@dataclass(frozen=True)
class Settings:
    """How a run is carried out, as against what is wanted of it.

    Attributes:
        sources: where layers and strategies are found.
        out: the run's folder; None lets the machine and the date name one under ``results/``.
        resume: go on with the run in ``out``.
        budget: seconds that the whole run may take, or None.
        timeout: seconds without a sign of life after which a worker is given up.
        measure: False for the gate alone.
    """

    sources: tuple[str, ...]
    out: Path | None = None
    resume: bool = False
    budget: float | None = None
    timeout: float = 180.0
    measure: bool = True


@dataclass(frozen=True)
class Outcome:
    """Where the records are, and what did not pass the gate."""

    folder: Path
    plan: Plan
    failures: tuple[Record, ...]
    measured: int
    out_of_time: bool


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that cannot be used.

    Raises:
        UsageError: it holds something already, or it holds no run to go on with.
    """
    if resume:
        if not (out / FILE).exists():
            raise UsageError(f"--resume: {out} holds no {FILE}; leave --resume out to start a run there")
    elif out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give --out a folder")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty: choose another --out, or go on with the run in it by --resume")


def execute(wanted: Wanted, settings: Settings, label: Callable[[Record, str], Path]) -> Outcome:
    """Do a run.

    Args:
        label: names the folder of a machine's results from its ``environment`` record.

    Raises:
        UsageError, StoreError, SourceError: see there; nothing has run yet.
        WorkerError: workers cannot even start.
        KeyboardInterrupt: finished cells are in the records.
    """
    started = time.monotonic()
    scan(settings.sources)
    if settings.out is not None:
        check_folder(settings.out, settings.resume)
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch, Reporter() as reporter:
        described, environment = _describe(settings, Path(scratch), reporter)
        folder = settings.out or label(environment, wanted.profile)
        earlier = read(folder) if settings.resume else None
        if earlier is not None:
            wanted = _wanted_before(earlier)
        plan = _plan(wanted, described, environment, settings.sources)
        journal = Journal(folder)
        try:
            if earlier is None:
                journal.write([_header(plan, settings.measure), environment, *described, *plan.statuses])
            else:
                _same_sources(earlier, described)
            return _Run(plan, settings, folder, journal, earlier, Path(scratch), reporter, started).carry_out()
        finally:
            journal.close()


def _describe(settings: Settings, scratch: Path, reporter: Reporter) -> tuple[list[Any], Record]:
    """Facts of all layers and strategies, and the environment; nothing is written yet."""
    found: list[Record] = []
    journal = Journal(scratch / "describe")
    cell = Cell("describe", (), Group("", "", "", "cpu", 1))
    job = Job((cell,), settings.sources, "cpu", 1, False, "", 0, 0.0)
    reporter.now("reading the layers and strategies")
    Conductor(journal, reporter, scratch, settings.timeout, heard=found.append).run([job])
    journal.close()
    environment = next(r for r in found if r["kind"] == "environment")
    kinds = {"layer": LayerFacts, "strategy": StrategyFacts, "status": CaseStatus}
    return [_rebuilt(kinds[r["kind"]], r) for r in found if r["kind"] in kinds], environment


def _rebuilt(kind: type, record: Record) -> Any:
    fields = {f.name for f in dataclasses.fields(kind)}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in fields})


def _plan(wanted: Wanted, described: list[Any], environment: Record, sources: tuple[str, ...]) -> Plan:
    layers = [d for d in described if isinstance(d, LayerFacts)]
    strategies = [d for d in described if isinstance(d, StrategyFacts)]
    broken = [d for d in described if isinstance(d, CaseStatus) and not d.strategy]
    if broken and (not layers or set(wanted.layers) & {b.layer for b in broken}):
        raise UsageError(f"layer {broken[0].layer} cannot be used: {broken[0].reason}")
    known = {layer.layer for layer in layers}
    orphans = {s.layer for s in strategies} - known - {b.layer for b in broken}
    if orphans:
        raise UsageError(
            f"folder {sorted(orphans)[0]!r} has strategies but no layer: define `layer = Layer(...)` in its __init__.py"
        )
    cores = min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))
    compiler = shutil.which(os.environ.get("CXX", "g++")) is not None
    machine = Machine(bool(environment.get("gpu")), compiler, cores)
    return make_plan(wanted, layers, [s for s in strategies if s.layer in known], machine, sources)


def _header(plan: Plan, measure: bool) -> Record:
    wanted = plan.wanted
    return {
        "kind": "run",
        "schema": SCHEMA,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sources": [Path(s).name for s in plan.sources],
        "wanted": dataclasses.asdict(wanted),
        "groups": [dataclasses.asdict(g) for g in plan.groups] if measure else [],
        "passes": list(plan.profile.passes),
        "launches": plan.launches,
    }


def _wanted_before(earlier: Run) -> Wanted:
    before: dict[str, Any] = earlier.of("run")[0]["wanted"]
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in before.items()}
    return Wanted(**fields)


def _same_sources(earlier: Run, described: Iterable[Any]) -> None:
    before = {(r["layer"], r["strategy"]): r["digest"] for r in earlier.of("strategy")}
    now = {(d.layer, d.strategy): d.digest for d in described if isinstance(d, StrategyFacts)}
    changed = [f"{layer}/{strategy}" for (layer, strategy), d in before.items() if now.get((layer, strategy)) != d]
    if changed:
        raise UsageError(f"changed since the run began: {', '.join(changed)}; start a new run instead of --resume")


class _Run:
    """The stages of a run, and what is known of it so far."""

    def __init__(
        self, plan: Plan, settings: Settings, folder: Path, journal: Journal, earlier: Run | None,
        scratch: Path, reporter: Reporter, started: float,
    ) -> None:  # fmt: skip
        self.plan, self.settings, self.folder, self.journal, self.reporter = (
            plan,
            settings,
            folder,
            journal,
            reporter,
        )
        self.failures: list[Record] = []
        self.failed: set[tuple[str, str]] = set()
        self.measured = 0
        self._look: list[Record] = []
        self._checks: list[Record] = []
        self._deadline = None if settings.budget is None else started + settings.budget - REPORT_SECONDS
        for record in map(as_record, plan.statuses):
            self._heard(record)
        for kind in ("status", "samples"):
            for record in earlier.of(kind) if earlier else []:
                self._heard(record)
        self.conductor = Conductor(
            journal, reporter, scratch, settings.timeout, earlier.done if earlier else frozenset(),
            earlier.attempts if earlier else 0, self._deadline, self._heard,
        )  # fmt: skip

    def _slowest_first(self) -> list[Job]:
        """Gates in an order that keeps two workers busy to the end: those that compile, those interpreted, the rest."""

        def rank(job: Job) -> int:
            (cell,) = job.cells
            needs = self.plan.facts[cell.group.layer, cell.strategies[0]].needs
            return 0 if "compiler" in needs else 1 if job.interpret else 2

        return sorted(self.plan.gates, key=rank)

    def carry_out(self) -> Outcome:
        """All stages, the gate first."""
        parallel = max(1, min(2, len(os.sched_getaffinity(0))))
        gate_minutes, minutes = self.plan.minutes(parallel)
        self._announce(gate_minutes, minutes if self.settings.measure else 0.0)
        out_of_time = False
        try:
            self.conductor.run(self._slowest_first(), 1 if "cuda" in self.plan.devices else parallel)
            if self.settings.measure:
                self._launch(minutes * 60 / max(1, self.plan.launches))
                self.conductor.run(self.plan.first_call_jobs(self._failures()), fresh_caches=True)
        except OutOfTimeError:
            out_of_time = True
            self.reporter.say("the budget is spent: what was finished is kept", style="yellow")
        return Outcome(self.folder, self.plan, tuple(self.failures), self.measured, out_of_time)

    def _failures(self) -> Failures:
        return frozenset(self.failed)

    def _announce(self, gate_minutes: float, minutes: float) -> None:
        plan, p = self.plan, self.plan.profile
        gates = len(plan.gates)
        cells = gates + (self._measuring_cells() if self.settings.measure else 0)
        self.reporter.estimate(60 * (gate_minutes + minutes), cells)
        self.reporter.say(f"records: {self.folder / FILE}")
        text = f"plan: gate for {gates} strategies, about {gate_minutes:.0f} min"
        if self.settings.measure:
            text += (
                f"; then {len(plan.groups)} groups × {len(p.passes)} passes × {plan.launches} launches,"
                f" about {minutes:.0f} min"
            )
        self.reporter.say(text)

    def _measuring_cells(self) -> int:
        plan = self.plan
        jobs = [*plan.memory_jobs(frozenset()), *plan.first_call_jobs(frozenset())]
        jobs += plan.launch_jobs(1, plan.groups, frozenset()) * plan.launches
        return sum(len(job.cells) for job in jobs)

    def _launch(self, seconds: float) -> None:
        """All launches; under a budget, the least telling groups go first so that an interval remains possible."""
        groups = list(self.plan.groups)
        for launch in range(1, self.plan.launches + 1):
            if self._deadline is not None:
                needed = max(1, min(self.plan.launches, FEWEST_LAUNCHES) - launch + 1)
                groups = self._that_fit(groups, seconds, self._deadline - time.monotonic(), needed)
            began = time.monotonic()
            self.conductor.run(self.plan.launch_jobs(launch, groups, self._failures()))
            seconds = (time.monotonic() - began) * len(self.plan.groups) / max(1, len(groups))
            if launch == 1:
                self._first_look()
                self.conductor.run(self.plan.memory_jobs(self._failures()))

    def _that_fit(self, groups: list[Group], seconds: float, left: float, launches: int) -> list[Group]:
        each = seconds / len(self.plan.groups)
        keep = max(1, min(len(groups), int(left / (each * launches))))
        if keep < len(groups):
            reason = f"left out to stay within the budget of {(self.settings.budget or 0) / 60:.3g} min"
            statuses = [
                CaseStatus(g.layer, s, "skipped", reason, "budget", g.dims, g.dtype, g.device, g.threads)
                for g in groups[keep:]
                for s in self.plan.strategies[g]
            ]
            self.journal.write(statuses)
            self.reporter.say(f"{reason}: {'; '.join(str(g) for g in groups[keep:])}", style="yellow")
        return groups[:keep]

    def _heard(self, record: Record) -> None:
        kind = record["kind"]
        if kind == "check":
            self._checks.append(record)
        elif kind == "training":
            self._say_passed(record)
        elif kind == "samples":
            self.measured += 1
            if record["launch"] == 1:
                self._look.append(record)
        elif kind == "status":
            self._say_status(record)

    def _say_passed(self, training: Record) -> None:
        mine = [c for c in self._checks if (c["layer"], c["strategy"]) == (training["layer"], training["strategy"])]
        worst = max((c["error"] / c["bound"] for c in mine if c["error"] and c["bound"]), default=0.0)
        if training["result"] == "ok":
            self.reporter.say(
                f"gate  {training['layer']}/{training['strategy']}: ok, {len(mine)} checks, worst error {worst:.2f} of"
                f" its bound; trained to {training['final_loss']:.4g}"
            )

    def _say_status(self, status: Record) -> None:
        name = f"{status['layer']}/{status['strategy']}"
        if status["stage"] in ("plan", "budget") and status["status"] in ("skipped", "unsupported"):
            if not status["dims"]:
                self.reporter.say(f"note  {name}: {status['status']}: {status['reason']}", style="yellow")
            return
        scope = status["layer"]
        if status["dims"]:
            scope = str(Group(*(status[k] for k in ("layer", "dims", "dtype", "device", "threads"))))
        else:
            self.failures.append(status)
        self.failed.add((scope, status["strategy"]))
        self.reporter.say(f"{scope} · {name}: {status['status']}: {status['reason']}", style="red")

    def _first_look(self) -> None:
        """Ratios of the first launch, one line a group: a first figure, without an interval yet."""
        by_cell: dict[tuple[str, str], dict[str, float]] = {}
        for r in self._look:
            if not r["again"]:
                group = str(Group(*(r[k] for k in ("layer", "dims", "dtype", "device", "threads"))))
                by_cell.setdefault((group, r["pass"]), {})[r["strategy"]] = median(r["seconds"]) / r["calls"]
        baseline = self.plan.wanted.baseline
        for (group, passed), seconds in by_cell.items():
            if passed == "forward_backward" and baseline in seconds:
                speeds = ", ".join(f"{s} {seconds[baseline] / t:.2f}×" for s, t in seconds.items() if s != baseline)
                self.reporter.say(
                    f"first look, one launch  {group} {passed}: {baseline} {seconds[baseline] * 1e6:.4g} µs, {speeds}"
                )
