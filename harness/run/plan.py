"""From what there is and what is wanted to what will be done: groups, cells, jobs, and an honest estimate of minutes.

Pure data in, pure data out: the catalogue comes as facts (see describe.py), so planning loads no torch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

from harness.records.modes import OLDER_MODES, PASSES
from harness.records.schema import CHECKS, DEVICES, DTYPES, CaseStatus, Group, LayerFacts, Status, StrategyFacts
from harness.run import estimates
from harness.run.groups import groups_of
from harness.run.jobs import Cell, Job, Kind
from harness.run.narrowing import with_dims, with_passes, with_scope_dims, without_variants
from harness.run.room import no_room
from harness.run.waivers import refuse_unknown, waived_for
from harness.run.wanted import PROFILES, Machine, Profile, UsageError, Wanted

Failures = frozenset[tuple[str, str]]
"""What is not to be measured: pairs of a scope and a strategy (see gate_scope and Plan._cell)."""


def gate_scope(layer: str, device: str) -> str:
    """Scope of what failed the gate: a layer on a device."""
    return f"{layer} on {device}"


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        passes: by group that is to be measured, the most telling first.
        strategies: by group, those that can be timed in it.
        gates: one cell for each strategy and device.
        statuses: what cannot be done and why.
        baselines: of each layer.
        left_out: names of variants that run on a device in use and were not asked for.
        whole: the groups of the whole plan; more than ``groups`` where this is a shard of it (see shards.py).
        digest: of what the whole plan measures.
    """

    wanted: Wanted
    profile: Profile
    sources: tuple[str, ...]
    passes: Mapping[Group, tuple[str, ...]]
    strategies: dict[Group, tuple[str, ...]]
    gates: tuple[Cell, ...]
    statuses: tuple[CaseStatus, ...]
    baselines: dict[str, str]
    facts: dict[tuple[str, str], StrategyFacts] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    whole: tuple[Group, ...] = ()
    digest: str = ""

    @property
    def groups(self) -> tuple[Group, ...]:
        """To be measured."""
        return tuple(self.passes)

    @property
    def launches(self) -> int:
        """Launches of each group."""
        return self.wanted.launches or self.profile.launches

    @property
    def looks(self) -> int:
        """How often the data are looked at; who asks for a number of launches gets those and no more."""
        return 1 if self.wanted.launches else self.profile.looks

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices in use."""
        return tuple(dict.fromkeys(cell.group.device for cell in self.gates))

    def seconds_on(self, device: str) -> float:
        """For the samples of one pass of one group by one clock: half on CUDA, where three take their turns."""
        return self.profile.seconds / 2 if device == "cuda" else self.profile.seconds

    def gate_jobs(self, parallel: int) -> list[Job]:
        """All gates and the controls, dealt to as many processes as run side by side so that they end together."""
        seconds = functools.partial(estimates.gate_seconds, facts=self.facts, level=self.wanted.scope.level)
        jobs = []
        for device in self.devices:
            controls = Cell("controls", (), Group("", "", "", device, 1), scope=self.wanted.scope)
            cells = [
                *([controls] if self.wanted.scope.whole else []),
                *(c for c in self.gates if c.group.device == device),
            ]
            hands: list[list[Cell]] = [[] for _ in range(parallel)]
            for cell in sorted(cells, key=seconds, reverse=True):
                min(hands, key=lambda hand: sum(map(seconds, hand))).append(cell)
            jobs += [self._job(sorted(hand, key=self._gate_rank)) for hand in hands if hand]
        return jobs

    def _gate_rank(self, cell: Cell) -> int:
        """Baselines first, which take seconds, so that a first figure is on the screen at once."""
        return 0 if cell.strategies == (self.baselines.get(cell.group.layer, ""),) else 1

    def memory_jobs(self, failed: Failures, groups: Iterable[Group] | None = None) -> list[Job]:
        """One process a layer × device, without strategies that failed the gate; of some groups, or of all."""
        chosen = self.groups if groups is None else groups
        single = [g for g in chosen if g.threads == self.whole[0].threads or g.device == "cuda"]
        return [
            self._job([self._cell("memory", g, failed) for g in same])
            for same in _by(single, lambda g: (g.layer, g.device))
        ]

    def roof_jobs(self) -> list[Job]:
        """One process for each device and number of threads."""
        alike = _by(self.groups, lambda g: (g.device, g.threads))
        return [
            self._job([Cell("roofs", (), Group("", "", "", same[0].device, same[0].threads), sizes=tuple(same))])
            for same in alike
        ]

    def launch_jobs(
        self, launch: int, groups: Iterable[Group], failed: Failures, only: Set[tuple[Group, str]] | None = None
    ) -> list[Job]:
        """One launch of all groups, or only of some groups' passes: one process for each device and threads."""
        wanted = [(g, p) for g in groups for p in self.passes_of(g) if only is None or (g, p) in only]
        return [
            self._job([self._cell("time", g, failed, p, launch) for g, p in same])
            for same in _by(wanted, lambda gp: (gp[0].device, gp[0].threads))
        ]

    def first_call_jobs(self, failed: Failures) -> list[Job]:
        """Each strategy, on the first group of each layer and device: one process for each device and threads."""
        if not self.profile.cold:
            return []
        first = [same[0] for same in _by(self.whole, lambda g: (g.layer, g.device)) if same[0] in self.passes]
        cells = [Cell("first_call", (s,), g) for g in first for s in self._cell("first_call", g, failed).strategies]
        return [self._job(same) for same in _by(cells, lambda c: (c.group.device, c.group.threads))]

    def passes_of(self, group: Group) -> tuple[str, ...]:
        """Passes that are timed in a group."""
        # A CUDA backward is derived from the other two when the records are analysed.
        return tuple(p for p in self.passes[group] if not (group.device == "cuda" and p == "backward"))

    def _cell(self, kind: Kind, group: Group, failed: Failures, passed: str = "", launch: int = 0) -> Cell:
        scopes = (gate_scope(group.layer, group.device), str(group), f"{group} {passed}")
        lost = {s for scope, s in failed if scope in scopes}  # "" is all of them
        able = () if "" in lost else tuple(s for s in self.strategies[group] if s not in lost)
        return Cell(kind, able, group, passed, launch, baseline=self.baselines[group.layer])

    def _job(self, cells: Sequence[Cell]) -> Job:
        group = cells[0].group
        return Job(
            tuple(cells), self.sources, group.device, group.threads, self.wanted.seed, self.seconds_on(group.device),
            self.wanted.allocator,
        )  # fmt: skip


T = TypeVar("T")


def _by(things: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    found: dict[Hashable, list[T]] = {}
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return list(found.values())


def make_plan(
    wanted: Wanted,
    layers: Sequence[LayerFacts],
    strategies: Sequence[StrategyFacts],
    machine: Machine,
    sources: tuple[str, ...],
) -> Plan:
    """Plan a run.

    Raises:
        UsageError: an unknown layer, strategy, device or dtype, no CUDA where it is asked for, or no size for it.
    """
    wanted, left_out = without_variants(_checked(wanted, layers, machine, strategies), strategies)
    profile = with_passes(PROFILES[wanted.profile], wanted)
    chosen = [layer for layer in layers if layer.layer in wanted.layers]
    groups = groups_of(wanted, profile, chosen, machine)
    baselines = {layer.layer: wanted.baseline or layer.reference for layer in chosen}
    by_layer = {
        layer.layer: [
            s for s in strategies
            if s.layer == layer.layer
            and (s.strategy in wanted.strategies or (wanted.measure and s.strategy == baselines[layer.layer]))
        ]
        for layer in chosen
    }  # fmt: skip

    statuses: list[CaseStatus] = []
    checked: list[tuple[StrategyFacts, str]] = []
    for layer in chosen:
        for facts in by_layer[layer.layer]:
            for device in wanted.devices:
                problem = _cannot_check(facts, machine, device)
                if problem is None:
                    checked.append((facts, device))
                else:
                    statuses.append(_status(facts, problem[0], problem[1], device))
    facts_of = {layer.layer: layer for layer in chosen}
    able: dict[Group, tuple[str, ...]] = {}
    tight = ""
    for group in groups:
        timed, cannot = _timed([f for f, d in checked if (f.layer, d) == (group.layer, group.device)], group)
        tight = no_room(facts_of[group.layer], group, len(timed), machine.memory.get(group.device, 0))
        if tight:
            statuses += [_status(facts, "skipped", tight, group.device, group) for facts in timed]
        else:
            able[group] = tuple(facts.strategy for facts in timed)
        statuses += cannot
    if wanted.measure and not able:
        raise UsageError(f"no size has room: {group.dims} {tight}; give smaller ones by --dims")
    passes = {group: groups[group] for group in able}
    gates = tuple(_gate(wanted, facts, device, passes, baselines) for facts, device in checked)
    return Plan(
        wanted, profile, sources, passes, able, gates, tuple(statuses), baselines,
        {(s.layer, s.strategy): s for s in strategies}, left_out, tuple(passes),
    )  # fmt: skip


def _timed(candidates: Sequence[StrategyFacts], group: Group) -> tuple[list[StrategyFacts], list[CaseStatus]]:
    """Those of the strategies that can be timed in a group, and why the others cannot."""
    timed, cannot = [], []
    for facts in candidates:
        reason = _cannot_time(facts, group)
        if reason is None:
            timed.append(facts)
        else:
            cannot.append(_status(facts, reason[0], reason[1], group.device, group))
    return timed, cannot


def _checked(
    wanted: Wanted, layers: Sequence[LayerFacts], machine: Machine, strategies: Sequence[StrategyFacts]
) -> Wanted:
    def valid(what: str, asked: tuple[str, ...], known: Sequence[str]) -> None:
        for name in asked:
            if name not in known:
                raise UsageError(f"unknown {what} {name!r}: choose from {', '.join(known)}")

    names = [layer.layer for layer in layers]
    valid("layer", wanted.layers, names)
    chosen = wanted.layers or tuple(names)
    if wanted.dims:
        wanted, chosen = with_dims(wanted, [layer for layer in layers if layer.layer in chosen])
    if wanted.scope.dims:
        wanted = with_scope_dims(wanted, [layer for layer in layers if layer.layer in chosen])
    ways = list(dict.fromkeys(s.strategy for s in strategies if s.layer in chosen))
    valid("strategy", wanted.strategies, ways)
    valid("baseline", (wanted.baseline,) if wanted.baseline else (), ways)
    bases = [wanted.baseline or layer.reference for layer in layers if layer.layer in chosen and wanted.measure]
    refuse_unknown(wanted.waive, ways, bases)
    for layer in layers:
        own = {s.strategy: s.error for s in strategies if s.layer == layer.layer}
        why = own.get(layer.reference, "there is none of that name")
        if layer.layer in chosen and why is not None:
            raise UsageError(f"layer {layer.layer}: its reference {layer.reference!r} cannot be used: {why}")
    valid("device", wanted.devices, DEVICES)
    valid("dtype", (*wanted.dtypes, *wanted.scope.dtypes), DTYPES)
    valid("check", wanted.scope.checks, CHECKS)
    for name in wanted.passes:
        if name in OLDER_MODES:
            raise UsageError(f"pass {name} was timed by earlier versions only: choose from {', '.join(PASSES)}")
    valid("pass", wanted.passes, PASSES)
    if "cuda" in wanted.devices and not machine.cuda:
        raise UsageError(
            "no CUDA device is available to this torch: use --device cpu, or install a CUDA build of torch"
        )
    if wanted.launches is not None and wanted.launches < 1:
        raise UsageError("--launches must be at least 1 (an interval needs 5)")
    if wanted.allocator not in ("fixed", "system"):
        raise UsageError(f"--allocator {wanted.allocator}: choose fixed or system")
    for threads in wanted.threads:
        if not 1 <= threads <= machine.physical_cores:
            raise UsageError(f"--threads {threads}: this process may use 1 to {machine.physical_cores} cores")
    return dataclasses.replace(
        wanted,
        layers=chosen,
        devices=wanted.devices or (("cuda",) if machine.cuda else ("cpu",)),
    )


def _cannot_check(facts: StrategyFacts, machine: Machine, device: str) -> tuple[Status, str] | None:
    if facts.error is not None:
        return ("unsupported" if facts.missing else "runtime_error"), facts.error
    if device not in facts.devices and not facts.kernels:
        return "skipped", f"runs on {', '.join(facts.devices)} only, and declares no Triton kernels to interpret"
    if "compiler" in facts.needs and not machine.compiler:
        return "unsupported", "needs a C++ compiler and none was found: install g++ or set CXX"
    return None


def _cannot_time(facts: StrategyFacts, group: Group) -> tuple[Status, str] | None:
    if group.device not in facts.devices:
        how = "; checked in Triton's interpreter, which is never timed" if facts.kernels else ""
        return "skipped", f"runs on {', '.join(facts.devices)} only{how}"
    if group.dtype not in facts.dtypes:
        return "unsupported", f"does not claim {group.dtype}"
    return None


def _status(facts: StrategyFacts, status: Status, reason: str, device: str, group: Group | None = None) -> CaseStatus:
    where = {} if group is None else {"dims": group.dims, "dtype": group.dtype, "threads": group.threads}
    return CaseStatus(facts.layer, facts.strategy, status, reason, "plan", device=device, **where)  # type: ignore[arg-type]


def _gate(
    wanted: Wanted, facts: StrategyFacts, device: str, groups: Iterable[Group], baselines: Mapping[str, str]
) -> Cell:
    """A strategy's gate; sizes to be measured are checked too where it will be timed. No baseline has a waiver."""
    runs = device in facts.devices
    sizes = tuple(g for g in groups if runs and wanted.measure and g.layer == facts.layer and g.device == device)
    group = Group(facts.layer, "", "", device, 1)
    is_baseline = wanted.measure and facts.strategy == baselines[facts.layer]
    return Cell(
        "gate", (facts.strategy,), group, sizes=sizes, interpret=bool(facts.kernels) and not runs, scope=wanted.scope,
        waive=() if is_baseline else waived_for(wanted.waive, facts.strategy),
    )  # fmt: skip
