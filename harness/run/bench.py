"""A whole run, from describing the sources to the last launch; ``verify`` is the same without the measuring."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.analyse.frames import undecided
from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.layers.discover import scan
from harness.records.schema import CaseStatus, CellEnd, Group, SecondLook, as_record
from harness.records.store import FILE, Journal, Record, Run, read
from harness.run import estimates, fitting, opening, waivers
from harness.run.conductor import Conductor, OutOfTimeError
from harness.run.plan import Failures, Plan, gate_scope
from harness.run.pool import LocalPool, Pool
from harness.run.progress import Reporter
from harness.run.selftest import proof_job
from harness.run.shards import END
from harness.run.wanted import Wanted

REPORT_SECONDS = 20.0
SECOND_LOOK = "second look"


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
        claims: a file of claims, copied into the run's folder, its digest in the header, before anything runs.
    """

    sources: tuple[str, ...]
    out: Path | None = None
    resume: bool = False
    budget: float | None = None
    timeout: float = 180.0
    measure: bool = True
    claims: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """Where the records are, the statuses of what did not pass the gate, and how many controls it let through."""

    folder: Path
    failures: tuple[Record, ...]
    missed: int


@dataclass(frozen=True)
class Place:
    """Machines of one kind on which a run is carried out, and what a worker found on one of them."""

    described: opening.Described
    pool: Pool


def execute(
    wanted: Wanted, settings: Settings, label: Callable[[Record, str], Path], place: Place | None = None
) -> Outcome:
    """Do a run.

    Args:
        label: names the folder of a machine's results from its ``environment`` record and the profile.
        place: where; on this machine if None.

    Raises:
        UsageError, StoreError, SourceError: see there; nothing has run yet (StoreError: or the disk is full).
        WorkerError: workers cannot even start.
        KeyboardInterrupt: finished cells are in the records.
    """
    started = time.monotonic()
    scan(settings.sources)
    if settings.out is not None:
        opening.check_folder(settings.out, settings.resume)
    with tempfile.TemporaryDirectory(prefix="layerbench-") as temporary, Reporter() as reporter:
        scratch = Path(temporary)
        patience = min(settings.timeout, settings.budget or settings.timeout)
        described = place.described if place else opening.describe(settings.sources, scratch, patience, reporter)
        planned = opening.plan(wanted, described, settings.sources)
        if wanted.layers:  # those that do not load are nobody's concern here
            described = dataclasses.replace(described, broken=())
        shard = "-shard-{}-of-{}".format(*wanted.shard) if wanted.shard else ""
        folder = settings.out or label(described.environment, wanted.profile + shard)
        journal = Journal(folder)
        try:
            earlier = opening.earlier_run(folder) if settings.resume else None
            if earlier is None:
                attempt = 1
                declared = opening.declare(folder, settings.claims)
                opening.write_header(
                    journal, planned, described, settings.measure, attempt, declared, one_machine=place is None
                )
            else:
                attempt = earlier.attempts
                opening.refuse_what_has_changed(earlier, described, wanted)
                planned = opening.plan(opening.wanted_before(earlier), described, settings.sources)
            pool = place.pool if place else LocalPool(scratch)
            gpu_bytes = int(described.environment.get("gpu_memory_bytes") or 0)
            run = _Run(planned, settings, folder, journal, earlier, attempt, pool, reporter, started, gpu_bytes)
            for status in (*described.broken, *planned.statuses):
                run.heard(as_record(status))
            return run.carry_out()
        finally:
            journal.close()


class _Run:
    """The stages of a run, and what is known of it so far."""

    def __init__(
        self, plan: Plan, settings: Settings, folder: Path, journal: Journal, earlier: Run | None, attempt: int,
        pool: Pool, reporter: Reporter, started: float, gpu_bytes: int,
    ) -> None:  # fmt: skip
        self.plan, self.settings, self.folder, self.journal, self.reporter = plan, settings, folder, journal, reporter
        self.attempt, self.pool = attempt, pool
        self.failures: list[Record] = []
        self.failed: set[tuple[str, str]] = set()
        self._first: dict[str, float] = {}
        self._checks: list[Record] = []
        self._trained: list[Record] = []
        self.controls: Counter[str] = Counter()
        self.waived: list[Record] = []
        self._deadline = None if settings.budget is None else started + settings.budget - REPORT_SECONDS
        self._gpu_bytes = gpu_bytes
        self._limit = settings.budget or 60 * (plan.profile.minutes or math.inf)
        self._started = started
        self._cells = [(str(c["cell"]), float(c["seconds"])) for c in earlier.of("cell")] if earlier else []
        for record in [*earlier.of("status"), *earlier.of("control"), *earlier.of("waived")] if earlier else []:
            if record["kind"] != "status" or record["stage"] not in ("plan", "import", "budget"):
                self.heard(record)
        self.conductor = Conductor(
            journal, reporter, pool, settings.timeout, earlier.done if earlier else frozenset(), attempt,
            self._deadline, self.heard,
        )  # fmt: skip

    def carry_out(self) -> Outcome:
        """All stages, the gate first."""
        slots = self.pool.slots
        parallel = fitting.gates_at_a_time(self.plan.devices, self._gpu_bytes)
        parallel = slots if self.pool.spreads else parallel
        gate_minutes, minutes = estimates.minutes(self.plan, parallel, slots)
        self._announce(gate_minutes, minutes if self.settings.measure else 0.0)
        try:
            self.conductor.run(self.plan.gate_jobs(parallel), parallel)
            if self.controls["caught"] or self.controls["missed"]:
                self.reporter.say(
                    f"controls: {self.controls['caught']} of {self._controls_run()} planted faults caught"
                )
            for line in waivers.unneeded(self.plan.wanted.waive, self.waived):
                self.reporter.say(line)
            if self.settings.measure and not self.controls["missed"]:
                self.conductor.run([proof_job("quick"), *self.plan.roof_jobs()])
                self._launch()
                self._look_again()
                self.conductor.run(self.plan.first_call_jobs(self._failures()))
                if self.plan.wanted.shard and END not in self.conductor.done:
                    self.journal.write([CellEnd(0.0)], END, self.attempt)
        except OutOfTimeError:
            self.reporter.say("the budget is spent: what was finished is kept", style="yellow")
        return Outcome(self.folder, tuple(self.failures), self.controls["missed"])

    def _controls_run(self) -> int:
        return self.controls["caught"] + self.controls["missed"]

    def _failures(self) -> Failures:
        return frozenset(self.failed)

    def _announce(self, gate_minutes: float, minutes: float) -> None:
        plan = self.plan
        gates = len(plan.gates)
        devices = len(plan.devices)
        text = f"plan: gate for {gates} strategies, about {gate_minutes:.0f} min"
        cells = gates + devices * plan.wanted.scope.whole
        if self.settings.measure:
            self.reporter.say(f"records: {self.folder / FILE}")
            text += (
                f"; then {sum(map(len, plan.passes.values()))} passes of {len(plan.groups)} groups"
                f" × {plan.launches} launches, about {minutes:.0f} min"
            )
            jobs = [*plan.memory_jobs(frozenset()), *plan.first_call_jobs(frozenset())]
            jobs += [proof_job("quick"), *plan.roof_jobs()]
            jobs += plan.launch_jobs(1, plan.groups, frozenset()) * plan.launches
            cells += sum(len(job.cells) for job in jobs)
        self.reporter.estimate(60 * (gate_minutes + minutes), cells)
        self.reporter.say(text)
        if plan.left_out:
            names = ", ".join(plan.left_out)
            self.reporter.say(f"variants left out: {names}; take them with --strategy NAME or --profile full")

    def _launch(self) -> None:
        """All launches. Where they would take longer than they may, the least telling groups are left out, before the
        first by what groups take elsewhere, then by what they have taken here: under a budget so that intervals stay
        possible, else so that all planned launches fit."""
        groups, plan = list(self.plan.groups), self.plan
        around = estimates.around_seconds(plan)
        for launch in range(1, plan.launches + 1):
            slots = self.pool.slots
            estimated = {g: estimates.launch_seconds(plan, g) for g in groups}
            taken = estimated | fitting.last_seconds(groups, self._cells)
            groups = self._that_fit(groups, taken, around, launch)
            began, before = time.monotonic(), len(self.conductor.done)
            self.conductor.run(plan.launch_jobs(launch, groups, self._failures()))
            if len(self.conductor.done) > before:  # else an earlier attempt had done it
                spent = fitting.last_seconds(groups, self._cells)
                around = max(0.0, slots * (time.monotonic() - began) - sum(spent.values()))
            if launch == 1:
                self.conductor.run(plan.memory_jobs(self._failures(), groups))

    def _look_again(self) -> None:
        """More launches for what the planned ones left inconclusive: the second look, paid for by wider intervals."""
        plan = self.plan
        if plan.looks == 1:
            return
        if SECOND_LOOK not in self.conductor.done:
            chosen = undecided(read(self.folder))
            self.journal.write([SecondLook(*each) for each in chosen] + [CellEnd(0.0)], SECOND_LOOK, self.attempt)
        only = {(_group(r), r["pass"]) for r in read(self.folder).of("second_look")}
        if only:
            self.reporter.say(
                f"second look: {plan.profile.more_launches} more launches of {len(only)} inconclusive passes of groups"
            )
            self.reporter.adjust(plan.profile.more_launches * len(only))
        for launch in range(plan.launches + 1, plan.launches + plan.profile.more_launches + 1):
            self.conductor.run(plan.launch_jobs(launch, plan.groups, self._failures(), only))

    def _that_fit(self, groups: list[Group], seconds: dict[Group, float], around: float, launch: int) -> list[Group]:
        plan, left = self.plan, self._limit - REPORT_SECONDS - (time.monotonic() - self._started)
        if self._deadline is not None:
            launches: float = max(1, min(plan.launches, FEWEST_LAUNCHES) - launch + 1)
        else:
            launches = plan.launches - launch + 1 + estimates.launches_again(plan)
            left -= estimates.first_call_seconds(plan)
        kept = fitting.that_fit(groups, seconds, around, launches, left * self.pool.slots)
        fits = set(kept)
        if out := [g for g in groups if g not in fits]:
            minutes = f"{self._limit / 60:.3g} min"
            profile = f"the {minutes} of the {plan.wanted.profile} profile (--layer, --dims and --budget have room)"
            reason = f"left out to stay within {profile if self._deadline is None else f'the budget of {minutes}'}"
            self.journal.write(
                [
                    CaseStatus(g.layer, s, "skipped", reason, "budget", g.dims, g.dtype, g.device, g.threads)
                    for g in out
                    for s in plan.strategies[g]
                ]
            )
            self.reporter.say(f"{reason}: {'; '.join(map(str, out))}", style="yellow")
            jobs = plan.launch_jobs(launch, out, frozenset()) * (plan.launches - launch + 1)
            jobs += plan.memory_jobs(frozenset(), out) if launch == 1 else []
            self.reporter.adjust(-sum(len(job.cells) for job in jobs))
        return kept

    def heard(self, record: Record) -> None:
        """Take note of a record, and say what a person would want to know at once."""
        match record["kind"]:
            case "check":
                self._checks.append(record)
            case "training":
                self._trained.append(record)
            case "control":
                self._say_control(record)
            case "waived":
                self.waived.append(record)
                self.reporter.say(waivers.set_aside(record), style="yellow")
            case "proof" if record["result"] == "failed":
                self.reporter.say(
                    f"the meter fails on this machine: {record['what']} {record['figure']:.3g}", style="red"
                )
            case "cell":
                self._cells.append((record["cell"], record["seconds"]))
                self._say_gate(record["cell"])
            case "samples":
                self._first_look(record)
            case "status":
                self._say_status(record)

    def _say_gate(self, cell: str) -> None:
        """One line about a strategy whose gate has closed without a failure."""
        checks, trained, self._checks, self._trained = self._checks, self._trained, [], []
        name = cell.removeprefix("gate ").split(" ")[0]
        layer, _, strategy = name.partition("/")
        device = cell.rpartition(" ")[2]
        if not cell.startswith("gate ") or (gate_scope(layer, device), strategy) in self.failed:
            return
        sound = [c for c in checks if c["result"] == "ok" and c["check"] == "values"]
        worst = max((c["error"] / c["bound"] for c in sound if c["error"] and c["bound"]), default=0.0)
        far = f", worst error {worst:.2f} of its bound" if sound else ""
        count = Counter(c["result"] for c in checks)
        not_ok = "".join(f", {n} {word}" for word, n in count.items() if word != "ok").replace("_", " ")
        losses = f"; trained to {trained[0]['final_loss']:.4g}" if trained else ""
        self.reporter.say(f"gate  {name}: {count['ok']} checks ok{not_ok}{far}{losses}")

    def _say_control(self, control: Record) -> None:
        self.controls[control["result"]] += 1
        if control["result"] == "missed":
            why = control["detail"] or "a planted fault went through"
            self.reporter.say(f"the gate is blind: {control['control']} ({control['check']}): {why}", style="red")

    def _say_status(self, status: Record) -> None:
        name = f"{status['layer']}/{status['strategy']}"
        where = str(_group(status)) if status["dims"] else gate_scope(status["layer"], status["device"])
        if status["stage"] in ("roofs", "proofs"):
            self.reporter.say(f"{status['stage']}: {status['status']}: {status['reason']}", style="red")
            return
        if status["stage"] in ("plan", "budget") and status["status"] in ("skipped", "unsupported"):
            if not status["dims"]:
                self.reporter.say(f"note  {name}: {status['status']}: {status['reason']}", style="yellow")
            return
        if not status["dims"]:
            self.failures.append(status)
        if status["stage"] not in ("memory", "first_call", "device_cold", "device_hot", "judge"):
            self.failed.add((f"{where} {status['pass']}".strip(), status["strategy"]))
        at = f"{where} · " if status["dims"] else ""
        self.reporter.say(f"{at}{name}: {status['status']}: {status['reason']}", style="red")

    def _first_look(self, samples: Record) -> None:
        """Speed-ups of a group's first launch as soon as they are there: a first figure, without an interval yet."""
        if (samples["launch"], samples["pass"], samples["regime"]) != (1, "forward_backward", "wall"):
            return
        if not samples["again"]:
            self._first[samples["strategy"]] = median(samples["call_seconds"])
            return
        baseline, seconds = samples["strategy"], self._first
        speeds = ", ".join(f"{s} {seconds[baseline] / t:.2f}×" for s, t in seconds.items() if s != baseline)
        own = f"{baseline} {seconds[baseline] * 1e6:.4g} µs"
        self.reporter.say(f"first look, one launch  {_group(samples)} forward_backward: {own}, {speeds}")
        self._first = {}


def _group(record: Record) -> Group:
    return Group(*(record[k] for k in ("layer", "dims", "dtype", "device", "threads")))
