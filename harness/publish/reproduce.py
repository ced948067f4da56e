"""Claims of a bundle held against new evidence: the least runs that can settle them, and more where that is not enough.

What is run is the code at hand, never anything of the bundle: a bundle only says which layers, strategies, sizes and
passes its claims are about, by name.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.analyse.launches import definition
from harness.publish import claims as claiming
from harness.publish import manifest
from harness.publish.claims import MODES, Claim
from harness.publish.environments import Fact, Tier, changed_sources, compare, tier
from harness.publish.evaluating import Finding, Measured
from harness.publish.evidence import foreign, read_run
from harness.publish.merging import merged
from harness.publish.opening import BundleError
from harness.publish.parts import TIMED, Part, parts, timed_today
from harness.publish.verdicts import Verdict, judge
from harness.records.dims import sizes_of
from harness.records.environment import machine_digest
from harness.records.store import Record, Run, read
from harness.run import opening
from harness.run.bench import Settings, execute
from harness.run.conductor import WorkerError
from harness.run.progress import Reporter
from harness.run.wanted import UsageError

LAUNCHES = (5, 8, 12)
"""Of the first look at a claim, and of each further one where it was inconclusive; planned before the first."""
HELD, FAILED, INCONCLUSIVE, NOTHING_RAN = 0, 1, 3, 4
Runner = Callable[[Part, Path, float | None], Run]


@dataclass(frozen=True)
class Here:
    """This machine and the code at hand.

    Attributes:
        machine: gives the digest of its id with a salt.
        largest: by layer and dim, the largest size that the layer states; a bundle may not ask for more.
    """

    environment: Record
    digests: dict[str, str]
    cores: int
    machine: Callable[[str], str | None] = machine_digest
    largest: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reproduction:
    """What was found; ``changed`` are layers and strategies whose source is not the bundle's."""

    id: str
    bundle: str
    tier: Tier
    facts: tuple[Fact, ...]
    changed: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    minutes: float

    @property
    def exit_code(self) -> int:
        """0 all held, 1 any failed, 3 inconclusive only, 4 nothing could be run."""
        words = {v.verdict for v in self.verdicts}
        if words & {"failed", "error"}:
            return FAILED
        if "inconclusive" in words:
            return INCONCLUSIVE
        return HELD if "held" in words else NOTHING_RAN


@dataclass
class _Evidence:
    """Runs so far, and why claims cannot be settled."""

    runs: list[Run] = field(default_factory=list)
    reasons: dict[str, tuple[str, str]] = field(default_factory=dict)


def reproduce(
    folder: Path, ids: Sequence[str], here: Here, run_part: Runner, work: Path, budget: float | None = None,
    say: Callable[[str], None] = print, mode: str = "all",
) -> Reproduction:  # fmt: skip
    """Re-run what the claims of a bundle need, and judge them.

    Args:
        folder: of the bundle.
        ids: of the claims; empty for all.
        run_part: does the runs of one part into a folder, within a number of seconds.
        work: where the runs go, a folder each.
        budget: seconds that all of it may take.
        mode: ``numerics`` (correct, converges, memory, bits), ``timing`` (ratio, winner) or ``all``.

    Raises:
        BundleError: the bundle is not as it was sealed.
        UsageError: a claim that it does not have.
    """
    started = time.monotonic()
    made, wrong = manifest.verify(folder)
    if wrong:
        raise BundleError(f"the bundle is not as it was sealed ({wrong[0]}): see layerbench check")
    published_run = read_run(folder)
    claims = chosen(claiming.read(folder, published_run.schema), ids, mode)
    with foreign("the evidence"):
        published = Measured(published_run)
        due = tier(published_run, here.environment, here.digests, here.machine)
        facts = compare(published_run.of("environment")[0], here.environment)
    changed = changed_sources(published_run.of("run")[0].get("digests", {}), here.digests)
    changed = [name for name in changed if _concerns(name, claims)]
    evidence = _Evidence(reasons=untestable(claims, here, published))
    verdicts: list[Verdict] = []
    open_claims = [c for c in claims if c.id not in evidence.reasons]
    for look, launches in enumerate(LAUNCHES):
        if not open_claims:
            break
        say(f"look {look + 1}: {len(open_claims)} claims, {launches} launches")
        left = None if budget is None else budget - (time.monotonic() - started)
        before = len(evidence.runs)
        _look(published_run, open_claims, launches, run_part, work, left, evidence, say, look == 0)
        verdicts = _judged(claims, published, evidence, due)
        settled = {v.claim.id for v in verdicts if v.verdict != "inconclusive"}
        open_claims = [c for c in open_claims if c.id not in settled]
        if len(evidence.runs) == before:
            break
    verdicts = verdicts or _judged(claims, published, evidence, due)
    took = (time.monotonic() - started) / 60
    return Reproduction(work.name, made.bundle, due, tuple(facts), tuple(changed), tuple(verdicts), round(took, 2))


def chosen(claims: list[Claim], ids: Sequence[str], mode: str) -> list[Claim]:
    """Those that were asked for, of the kinds of a mode.

    Raises:
        UsageError: one that the bundle does not have, or it has none.
    """
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}: choose from {', '.join(MODES)}")
    known = [claim.id for claim in claims]
    for one in ids:
        if one not in known:
            raise UsageError(f"the bundle has no claim {one!r}: choose from {', '.join(known)}")
    if not claims:
        raise UsageError("the bundle claims nothing")
    found = [claim for claim in claims if claim.kind in MODES[mode] and (not ids or claim.id in ids)]
    if not found:
        raise UsageError(f"none of these claims is of mode {mode}: it asks for {', '.join(MODES[mode])}")
    return found


def _concerns(name: str, claims: Sequence[Claim]) -> bool:
    layer, _, strategy = name.partition("/")
    return any(
        c.layer == layer
        and (not strategy or strategy in (c.strategy, c.against) or not c.strategy or c.kind == "winner")
        for c in claims
    )


def untestable(claims: Sequence[Claim], here: Here, published: Measured) -> dict[str, tuple[str, str]]:
    """Verdict and reason of claims that this machine or this code cannot be asked about, by id."""
    found: dict[str, str] = {}
    for c in claims:
        passes = {passed for _, passed in published.groups(c)}
        older = "step_with_loss" if c.quantity == "step_with_loss_peak" else ""
        if c.kind in TIMED and not any(timed_today(published.run, passed) for passed in passes):
            older = sorted(passes)[0] if passes else ""
        names = [f"{c.layer}/{s}" for s in (c.strategy, c.against) if s]
        missing = [name for name in (c.layer, *names) if name not in here.digests]
        if older:
            found[c.id] = f"it is about {older} ({definition(published.run, c.layer, older)}), which is timed no more"
        elif missing:
            found[c.id] = f"the code here has no {missing[0]}: give its package with --from"
        elif c.device == "cuda" and not here.environment.get("gpu"):
            found[c.id] = "no CUDA device is available here"
        elif c.device == "cpu" and c.threads > here.cores:
            found[c.id] = f"needs {c.threads} cores, and there are {here.cores} here"
        else:
            large = [g.dims for g, _ in published.groups(c) if _too_large(g.dims, here.largest.get(c.layer))]
            if large:
                found[c.id] = f"{large[0]} is larger than any size that the layer states here"
    return {name: ("not_testable", why) for name, why in found.items()}


def _too_large(dims: str, largest: dict[str, int] | None) -> bool:
    return bool(largest) and any(size > (largest or {}).get(name, 0) for name, size in sizes_of(dims).items())


def _look(
    run: Run, claims: Sequence[Claim], launches: int, run_part: Runner, work: Path, left: float | None,
    evidence: _Evidence, say: Callable[[str], None], first: bool,
) -> None:  # fmt: skip
    began = time.monotonic()
    for part in parts(claims, run, launches):
        spare = None if left is None else left - (time.monotonic() - began)
        where = f"{part.layer} {part.dtype} {part.device}"
        if spare is not None and part.minutes * 60 > spare:
            why = f"left out: needs about {part.minutes:.1f} min, and the budget has {max(0.0, spare) / 60:.1f} left"
            say(f"{where}: {why}")
            if first:
                evidence.reasons |= dict.fromkeys(part.claims, ("not_testable", why))
            continue
        say(f"{where}: {len(part.dims)} sizes, {len(part.passes)} passes, about {part.minutes:.1f} min")
        try:
            evidence.runs.append(run_part(part, work / str(len(evidence.runs) + 1), spare))
        except UsageError as error:
            evidence.reasons |= {c: ("not_testable", str(error)) for c in part.claims}
        except WorkerError as error:
            evidence.reasons |= {c: ("error", str(error)) for c in part.claims}


def _judged(claims: Sequence[Claim], published: Measured, evidence: _Evidence, due: Tier) -> list[Verdict]:
    here = Measured(merged(evidence.runs, len(LAUNCHES))) if evidence.runs else None
    verdicts = []
    for claim in claims:
        if claim.id in evidence.reasons or here is None:
            verdict, why = evidence.reasons.get(claim.id, ("not_testable", "nothing was run for it"))
            verdicts.append(Verdict(claim, Finding(verdict), verdict, why))
        else:
            verdicts.append(judge(claim, published, here, due))
    return verdicts


def look_around(sources: tuple[str, ...], timeout: float) -> Here:
    """This machine and the code at hand, as a worker sees them."""
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch, Reporter() as reporter:
        described = opening.describe(sources, Path(scratch), timeout, reporter)
    largest: dict[str, dict[str, int]] = {}
    for layer in described.layers:
        own = largest.setdefault(layer.layer, {})
        for dims in (d for profiles in layer.sizes.values() for sizes in profiles.values() for d in sizes):
            own |= {name: max(size, own.get(name, 0)) for name, size in sizes_of(dims).items()}
    cores = psutil.cpu_count(logical=False) or 1
    return Here(described.environment, described.digests, cores, largest=largest)


def runner(sources: tuple[str, ...], seed: int, timeout: float) -> Runner:
    """Runs parts with the code at hand."""

    def run_part(part: Part, folder: Path, seconds: float | None) -> Run:
        settings = Settings(sources, folder, budget=seconds, timeout=timeout, measure=bool(part.passes))
        outcome = execute(part.wanted(seed), settings, lambda *_: folder)
        if outcome.missed:
            raise WorkerError(f"the gate is blind here: {outcome.missed} planted faults went through")
        return read(outcome.folder)

    return run_part


def as_fields(found: Reproduction) -> Mapping[str, Any]:
    """What is written to ``reproductions/``."""
    return {
        "schema": 1,
        "id": found.id,
        "bundle": found.bundle,
        "minutes": found.minutes,
        "exit_code": found.exit_code,
        "tier": {**dataclasses.asdict(found.tier), "asked": found.tier.asked},
        "changed_sources": found.changed,
        "environment": [
            {"fact": f.name, "published": f.published, "here": f.here, "same": f.same, "matters": f.matters}
            for f in found.facts
        ],
        "claims": [_claim_fields(v) for v in found.verdicts],
    }


def _claim_fields(v: Verdict) -> dict[str, Any]:
    names = ("value", "low", "high", "n", "verdict")
    return {
        "id": v.claim.id,
        "claim": v.claim.sentence,
        "published": {name: getattr(v.claim, name) for name in names},
        "here": {name: getattr(v.here, name) for name in names},
        "verdict": v.verdict,
        "why": v.why,
        "cases": [
            {"group": str(c.group or ""), "pass": c.passed, "verdict": c.verdict, "log_ratios": c.log_ratios}
            for c in v.here.cases
        ],
    }
