"""What a run says of a claim: value, interval, n and verdict, computed from the records alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.analyse import frames
from harness.analyse.doubts import doubt
from harness.analyse.gate import UNTOLD
from harness.analyse.launches import GROUP, log_ratios, planned
from harness.analyse.statistics import FEWEST_LAUNCHES, Interval, interval
from harness.publish.claims import OPERATORS, Claim
from harness.records.schema import Group
from harness.records.store import Record, Run


@dataclass(frozen=True)
class Case:
    """A claim at one size and pass: what was found, and the verdict about the threshold."""

    group: Group | None
    passed: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    verdict: str
    why: str = ""
    log_ratios: tuple[float, ...] = ()
    digest: str = ""
    strategy: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim on a run. The value is of the weakest case; ``held`` needs all of them to hold."""

    verdict: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    why: str = ""
    cases: tuple[Case, ...] = field(default=(), repr=False)


class Measured:
    """A run with what claims ask of it, computed once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.header = run.of("run")[0]
        self.looks = int(self.header.get("looks", 1))
        self.rows = {self._key(row): row for row in frames.rows_of(frames.timing(run))}
        self.ratios = log_ratios(run)
        self._waivers = frames.waivers(run)

    @staticmethod
    def _key(row: Any) -> tuple[Any, ...]:
        return (row.layer, row.dims, row.dtype, row.device, row.threads, row.passed, row.strategy)

    def groups(self, claim: Claim) -> list[tuple[Group, str]]:
        """Groups and passes that a claim is about."""
        found = [(Group(*group), str(passed)) for *group, passed in planned(self.run)]
        return [
            (g, passed)
            for g, passed in found
            if (g.layer, g.device, g.threads) == (claim.layer, claim.device, claim.threads)
            and claim.dtype in ("", g.dtype) and claim.passed in ("", passed) and claim.selects(g.dims)
        ]  # fmt: skip

    def names(self, group: Group, passed: str) -> list[str]:
        """Strategies that were timed there."""
        key = (*vars(group).values(), passed)
        return [k[-1] for k, row in self.rows.items() if k[:-1] == key and row.status == "ok"]

    def waived(self, layer: str, device: str, name: str = "") -> str:
        """Words of the waivers of a strategy, or of all of a layer's."""
        mine = {n: w for (own, n, at), w in self._waivers.items() if (own, at) == (layer, device) and name in ("", n)}
        return "; ".join(f"{n} {words}" for n, words in mine.items())

    def words(self, claim: Claim) -> str:
        """Words of the waivers of those that a claim is about; a winner is one among those that have none."""
        named = () if claim.kind == "winner" else (claim.strategy, claim.against)
        names = [name for name in named if name] or [""]
        return "; ".join(filter(None, (self.waived(claim.layer, claim.device, name) for name in names)))

    def status(self, group: Group, passed: str, name: str) -> tuple[str, str]:
        """Status and reason of a case."""
        row = self.rows.get((*vars(group).values(), passed, name))
        return ("skipped", "it is not in the run") if row is None else (row.status, row.reason)

    def doubt(self, group: Group, passed: str, name: str) -> str:
        """Why a measured case has no verdict, where it has none."""
        return doubt(self.rows[*vars(group).values(), passed, name].flags)

    def differences(self, group: Group, passed: str, name: str, against: str) -> list[float]:
        """Log-ratio of times in each launch in which the two met."""
        key = (*vars(group).values(), passed)
        own, other = self.ratios.get((*key, name), {}), self.ratios.get((*key, against), {})
        if against == self.header["baselines"].get(group.layer):
            return list(own.values())
        return [own[launch] - other[launch] for launch in own if launch in other]


def evaluate(claim: Claim, measured: Measured) -> Finding:
    """Hold a claim against a run."""
    match claim.kind:
        case "ratio":
            return worst(claim, [_ratio(claim, measured, g, p, claim.against) for g, p in measured.groups(claim)])
        case "winner":
            cases = []
            for g, p in measured.groups(claim):
                names = [s for s in measured.names(g, p) if not measured.waived(g.layer, g.device, s)]
                others = [s for s in names if s != claim.strategy]
                cases += [_ratio(claim, measured, g, p, other) for other in others]
                if not others:
                    cases.append(Case(g, p, None, None, None, 0, "not_testable", "nothing else was timed there"))
            return worst(claim, cases)
        case "memory":
            return worst(claim, _memory(claim, measured.run))
        case "converges":
            return worst(claim, _converges(claim, measured.run))
        case "correct":
            return worst(claim, _correct(claim, measured.run))
        case "bits":
            return worst(claim, _bits(claim, measured))


def worst(claim: Claim, cases: list[Case]) -> Finding:
    """One finding from all cases: the worst verdict, and of the weakest value among its cases."""
    if not cases:
        return Finding("not_testable", why="the run has no such case")
    for verdict in ("error", "failed", "inconclusive", "not_testable", "held"):
        mine = [c for c in cases if c.verdict == verdict]
        if mine:
            break
    valued = [c for c in mine if c.value is not None]
    pick = max if claim.operator == "<=" else min
    one = pick(valued, key=lambda c: c.value or 0.0) if valued else mine[0]
    at = f" ({one.group}, {one.passed})" if one.group and one.passed else ""
    count = f" in {len(mine)} of {len(cases)} cases" if len(cases) > 1 and verdict != "held" else ""
    return Finding(verdict, one.value, one.low, one.high, one.n, f"{one.why}{count}{at}".strip(), tuple(cases))


def judge(low: float, high: float, claim: Claim) -> str:
    """``held`` where the whole interval is on the right side of the threshold, ``failed`` where none of it is."""
    holds = OPERATORS[claim.operator]
    sides = {holds(low, claim.threshold), holds(high, claim.threshold)}
    return "inconclusive" if len(sides) == 2 else "held" if sides == {True} else "failed"


def _ratio(claim: Claim, measured: Measured, group: Group, passed: str, against: str) -> Case:
    for name in (claim.strategy, against):
        status, reason = measured.status(group, passed, name)
        if status != "ok":
            verdict = "not_testable" if status in UNTOLD else "failed" if status == "wrong" else "error"
            return Case(group, passed, None, None, None, 0, verdict, f"{name}: {status}: {reason}")
        if why := measured.doubt(group, passed, name):
            return Case(group, passed, None, None, None, 0, "not_testable", f"{name}: {why}")
    logs = measured.differences(group, passed, claim.strategy, against)
    if not logs:
        return Case(group, passed, None, None, None, 0, "not_testable", f"not timed in the launches of {against}")
    comparisons = max(1, len(measured.names(group, passed)) - 1)
    found: Interval = interval(logs, comparisons, measured.looks)
    if not found.known:
        why = f"an interval needs {FEWEST_LAUNCHES} launches"
        value = math.exp(-found.theta)
        return Case(group, passed, value, None, None, found.launches, "inconclusive", why, tuple(logs))
    value, low, high = (math.exp(-x) for x in (found.theta, found.high, found.low))
    verdict = judge(low, high, claim)
    why = "" if claim.kind == "ratio" else f"against {against}"
    return Case(group, passed, value, low, high, found.launches, verdict, why, tuple(logs))


def _memory(claim: Claim, run: Run) -> list[Case]:
    found: dict[Group, dict[str, Record]] = {}
    for record in run.of("memory"):
        group = Group(*(record[k] for k in GROUP))
        if (group.layer, group.device) == (claim.layer, claim.device) and claim.dtype in ("", group.dtype):
            found.setdefault(group, {})[record["strategy"]] = record
    cases = []
    for group, taken in found.items():
        if not claim.selects(group.dims):
            continue
        if claim.strategy not in taken or claim.against not in taken:
            lost = claim.strategy if claim.strategy not in taken else claim.against
            cases.append(Case(group, "", None, None, None, 0, "not_testable", f"{lost} was not measured"))
            continue
        own, other = (taken[name].get(claim.quantity) for name in (claim.strategy, claim.against))
        if own is None or other is None:
            why = f"{claim.quantity} was not measured in this run"
            cases.append(Case(group, "", None, None, None, 0, "not_testable", why))
            continue
        if not other and own:
            cases.append(Case(group, "", None, None, None, 1, "not_testable", f"{claim.against} takes no bytes at all"))
            continue
        ratio = own / other if other else 1.0
        why = f"{own} against {other} bytes at {group.dims}"
        cases.append(Case(group, "", ratio, ratio, ratio, 1, judge(ratio, ratio, claim), why))
    return cases


def _of(run: Run, kind: str, claim: Claim) -> Iterable[Record]:
    return (
        r for r in run.of(kind)
        if (r["layer"], r["device"]) == (claim.layer, claim.device) and claim.strategy in ("", r["strategy"])
        and claim.dtype in ("", r.get("dtype") or claim.dtype)
    )  # fmt: skip


def _refused(claim: Claim, run: Run) -> list[Case]:
    """Strategies that the gate did not let through."""
    stopped = [r for r in _of(run, "status", claim) if not r["dims"] and r["stage"] == "gate"]
    return [
        Case(None, "", None, None, None, 0,
             "not_testable" if r["status"] in UNTOLD else "failed" if r["status"] == "wrong" else "error",
             f"{r['strategy']}: {r['status']}: {r['reason']}")
        for r in stopped
    ]  # fmt: skip


def _share(record: Record) -> float:
    error, bound = (float(record[k]) if record[k] is not None else math.nan for k in ("error", "bound"))
    share = error / bound if bound else (0.0 if error == 0 else math.nan)
    return share if math.isfinite(share) else 0.0 if math.isnan(share) else math.inf


def _converges(claim: Claim, run: Run) -> list[Case]:
    words = {"": "held", "equivalent": "held", "different": "failed", "inconclusive": "inconclusive"}
    results = {"wrong": "failed", "limited": "not_testable", "not_applicable": "not_testable",
               "not_run": "not_testable"}  # fmt: skip
    cases = []
    for r in _of(run, "training", claim):
        share = _share(r)
        verdict = results.get(r["result"]) or words.get(r.get("verdict", ""), "failed")
        why = "" if verdict == "held" else f"{r['strategy']}, {r['dtype']}: {r.get('verdict') or r['detail']}"
        share = min(share, 1e300)
        cases.append(Case(None, "", share, share, share, r["starts"], verdict, why))
    return [*cases, *_refused(claim, run)]


def _correct(claim: Claim, run: Run) -> list[Case]:
    ways: dict[str, list[Record]] = {}
    for r in _of(run, "check", claim):
        ways.setdefault(r["strategy"], []).append(r)
    cases = []
    for name, checks in ways.items():
        wrong = [r for r in checks if r["result"] == "wrong" and not r.get("upstream")]
        measured = [r for r in checks if r["check"] == "values" and r["error"] is not None]
        share = min(max(map(_share, [*measured, *(r for r in wrong if r["error"] is not None)]), default=0.0), 1e300)
        verdict = "failed" if wrong else "held" if measured else "not_testable"
        why = f"{name}: {wrong[0]['check']} of {wrong[0]['tensor']} is wrong" if wrong else ""
        cases.append(Case(None, "", share, share, share, len(checks), verdict, why))
    return [*cases, *_refused(claim, run)]


def _bits(claim: Claim, measured: Measured) -> list[Case]:
    wanted = set(measured.groups(claim))
    found: dict[tuple[Group, str, str], list[str]] = {}
    for r in measured.run.of("samples"):
        key = (Group(*(r[k] for k in GROUP)), r["pass"])
        if key in wanted and claim.strategy in ("", r["strategy"]) and r.get("regime", "wall") == "wall":
            found.setdefault((*key, r["strategy"]), []).append(r["digest"])
    cases = []
    for (group, passed, name), digests in found.items():
        n, count = len(set(digests)), len(digests)
        verdict = "not_testable" if count < 2 else "held" if n == 1 else "failed"
        why = f"{name}" if n == 1 else f"{name}: {n} different answers in {count} launches"
        cases.append(
            Case(
                group, passed, float(n), float(n), float(n), count, verdict, why, (), digests[0] if n == 1 else "", name
            )
        )
    return [*cases, *_trained_bits(claim, measured)] if cases else []


def _trained_bits(claim: Claim, measured: Measured) -> list[Case]:
    """Weights after the last step of training, once for each strategy and dtype; for a claim about all sizes."""
    return [
        Case(
            None, f"weights after {r['steps']} steps, {r['dtype']}", 1.0, 1.0, 1.0, 1, "held", r["strategy"], (),
            r["digest"], r["strategy"],
        )
        for r in measured.run.of("training")
        if (r["layer"], r["device"]) == (claim.layer, claim.device)
        and claim.dtype in ("", r["dtype"])
        and claim.strategy in ("", r["strategy"])
        and not claim.dims
        and r.get("digest")
    ]  # fmt: skip
