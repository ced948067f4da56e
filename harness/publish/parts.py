"""The least runs that can settle claims: one part for each layer, device, dtype and number of threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.publish.claims import Claim
from harness.publish.evaluating import Measured
from harness.records.modes import MODES, PASSES
from harness.records.schema import DTYPES
from harness.records.store import Run
from harness.run.jobs import Scope
from harness.run.wanted import Wanted

TIMED = ("ratio", "winner", "bits")
ANY_PASS = "forward_backward"
"""That is timed where bytes alone are asked for."""
FIXED_MINUTES = 0.3
"""Of a part: reading the sources, the meter's proofs and roofs."""


@dataclass(frozen=True)
class Part:
    """A run of some groups and passes of one layer.

    Attributes:
        claims: ids of those that it is for.
        strategies: to be run; the baseline comes along.
        level: of the gate.
        minutes: what the same took when it was published, for as many launches.
        waive: refusals that were set aside when it was published.
    """

    layer: str
    device: str
    dtype: str
    threads: int
    dims: tuple[str, ...]
    passes: tuple[str, ...]
    strategies: tuple[str, ...]
    level: str
    claims: tuple[str, ...]
    minutes: float = 0.0
    launches: int = FEWEST_LAUNCHES
    waive: tuple[str, ...] = ()

    def wanted(self, seed: int) -> Wanted:
        """As a run is asked for; without passes it is the gate alone."""
        return Wanted(
            "quick", (self.layer,), self.strategies, (self.device,), (self.dtype,), (self.threads,), "",
            self.launches, seed, "fixed", Scope(self.level), bool(self.passes), self.dims, self.passes,
            waive=self.waive,
        )  # fmt: skip


def parts(claims: Sequence[Claim], run: Run, launches: int = FEWEST_LAUNCHES) -> list[Part]:
    """What must be run for claims about a run, the cheapest first."""
    measured = Measured(run)
    found: dict[tuple[str, str, str, int], Part] = {}
    of_gates: list[Claim] = []
    for claim in claims:
        if claim.kind in ("correct", "converges"):
            of_gates.append(claim)
            continue
        for group, passed in measured.groups(claim):
            if claim.kind == "memory" and passed != measured.header["passes"][0]:
                continue
            if not timed_today(run, passed):
                if claim.kind != "memory":
                    continue
                passed = ANY_PASS
            key = (group.layer, group.device, group.dtype, group.threads)
            one = Part(*key, (group.dims,), (passed,), _needed(claim, run), "quick", (claim.id,))
            found[key] = _joined(found[key], one) if key in found else one
    for claim in of_gates:
        _add_gate(found, claim, run)
    sized = [dataclasses.replace(p, launches=launches, waive=_waived(p, run)) for p in found.values()]
    costed = [dataclasses.replace(p, minutes=_minutes(p, run)) for p in sized]
    return sorted(costed, key=lambda p: p.minutes)


def _waived(part: Part, run: Run) -> tuple[str, ...]:
    """The waivers that were needed for the strategies of a part."""
    mine = [r for r in run.of("waived") if (r["layer"], r["device"]) == (part.layer, part.device)]
    return tuple(dict.fromkeys(f"{r['check']}:{r['strategy']}" for r in mine if r["strategy"] in part.strategies))


def timed_today(run: Run, passed: str) -> bool:
    """Tell whether a pass of a published run is still what it was then."""
    return passed in PASSES and run.of("run")[0].get("modes", {}).get(passed, MODES[passed]) == MODES[passed]


def _needed(claim: Claim, run: Run) -> tuple[str, ...]:
    if claim.kind in ("ratio", "memory"):
        return (claim.strategy, claim.against)
    return (claim.strategy,) if claim.strategy and claim.kind != "winner" else _all(run, claim.layer)


def _all(run: Run, layer: str) -> tuple[str, ...]:
    wanted = run.of("run")[0]["wanted"]["strategies"]
    mine = (r["strategy"] for r in run.of("strategy") if r["layer"] == layer)
    return tuple(dict.fromkeys(name for name in mine if name in wanted))


def _joined(one: Part, other: Part) -> Part:
    def both(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*a, *b)))

    return dataclasses.replace(
        one, dims=both(one.dims, other.dims), passes=both(one.passes, other.passes),
        strategies=both(one.strategies, other.strategies), claims=both(one.claims, other.claims),
        level="standard" if "standard" in (one.level, other.level) else "quick",
    )  # fmt: skip


def _add_gate(found: dict[tuple[str, str, str, int], Part], claim: Claim, run: Run) -> None:
    """A claim that the gate settles goes with a part of its layer, or becomes a part that measures nothing.

    As much is checked as was when it was published, so that values are held against values of the same questions.
    """
    level = "quick" if run.of("run")[0]["wanted"].get("scope", {}).get("level") == "quick" else "standard"
    same = [k for k in found if k[:2] == (claim.layer, claim.device)]
    key = same[0] if same else (claim.layer, claim.device, claim.dtype or DTYPES[1], 1)
    one = Part(*key, (), (), _needed(claim, run), level, (claim.id,))
    found[key] = _joined(found[key], one) if key in found else one


def _minutes(part: Part, run: Run) -> float:
    header = run.of("run")[0]
    took = {str(c["cell"]): float(c["seconds"]) for c in run.of("cell")}
    where = [f"{part.layer} {dims} {part.dtype} {part.device}" for dims in part.dims]
    threads = f" {part.threads} threads" if part.device == "cpu" and part.threads > 1 else ""
    timed = {f"time {w}{threads} {p} launch" for w in where for p in part.passes if p in PASSES}
    timing = sum(s for name, s in took.items() if name.rpartition(" ")[0] in timed)
    gates = sum(took.get(f"gate {part.layer}/{s} {part.device}", 10.0) for s in part.strategies)
    share = part.launches / max(1, int(header.get("launches", 1)))
    return round(FIXED_MINUTES + (timing * share + gates / (1 if part.device == "cuda" else 2)) / 60, 2)
