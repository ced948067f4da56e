"""Does a published claim hold here? The threshold on the new evidence, and on the same machine the published figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analyse.compare import welch
from harness.analyse.launches import definition
from harness.analyse.statistics import margin
from harness.publish.claims import Claim
from harness.publish.environments import Tier
from harness.publish.evaluating import Case, Finding, Measured, evaluate
from harness.publish.parts import TIMED, timed_today

DELTA = math.log(1.05)
"""A ratio is the same where it is within ±5 %, or within the tie band where that is wider."""
ORDER = ("error", "failed", "inconclusive", "not_testable", "held")


@dataclass(frozen=True)
class Verdict:
    """A claim, what was published, what was found here, and why that is the verdict."""

    claim: Claim
    here: Finding
    verdict: str
    why: str


def judge(claim: Claim, published: Measured, here: Measured, tier: Tier) -> Verdict:
    """Hold a claim against new evidence."""
    finding = evaluate(claim, here)
    if (
        claim.kind == "memory"
        and claim.quantity == "step_peak"
        and not _same_pass(claim.layer, "step", published, here)
    ):
        return Verdict(claim, finding, "not_testable", "step is another thing here")
    every = set(published.groups(claim))
    due = {(g, p) for g, p in every if _same_pass(claim.layer, p, published, here)}
    if claim.kind in TIMED and every and not due:
        return Verdict(claim, finding, "not_testable", f"{claim.passed or 'every pass'} is another thing here")
    missing = due - {(c.group, c.passed) for c in finding.cases if c.verdict != "not_testable"}
    if claim.kind in ("ratio", "winner", "bits") and finding.verdict == "held" and missing:
        group, passed = sorted(missing, key=str)[0]
        return Verdict(claim, finding, "not_testable", f"not measured here: {group} {passed}")
    verdict = _held_against(claim, finding, published, here, tier)
    left = sorted({p for _, p in every - due})
    if claim.kind in TIMED and left:
        why = "; ".join(filter(None, (verdict.why, f"not asked, since it is another thing here: {', '.join(left)}")))
        return dataclasses.replace(verdict, why=why)
    return verdict


def _held_against(claim: Claim, finding: Finding, published: Measured, here: Measured, tier: Tier) -> Verdict:
    if finding.verdict != "held":
        return Verdict(claim, finding, finding.verdict, finding.why)
    if claim.kind == "ratio" and tier.number <= 2:
        before, now = (m.header.get("digests", {}).get(f"{claim.layer}/{claim.against}") for m in (published, here))
        if before != now:
            why = f"all of the interval is {'above' if claim.operator == '>=' else 'below'} the threshold"
            return Verdict(claim, finding, "held", f"{why}; {claim.against} has another source than was published")
        return _as_published(claim, finding, published, here)
    if claim.kind == "bits":
        return _same_bits(claim, finding, published, tier)
    limit = "" if claim.kind not in ("ratio", "winner") else "above" if claim.operator == ">=" else "below"
    return Verdict(claim, finding, "held", f"all of the interval is {limit} the threshold" if limit else "")


def _same_pass(layer: str, passed: str, published: Measured, here: Measured) -> bool:
    """Tell whether a pass is timed today and is what it was when it was published."""
    if not timed_today(published.run, passed):
        return False
    return definition(published.run, layer, passed) == definition(here.run, layer, passed)


def repeatable(ratio: Claim, measured: Measured) -> bool:
    """Whether a repeat on the same machine would confirm a ratio, if it found the same figures, as noisy as these."""
    finding = evaluate(ratio, measured)
    return finding.verdict == "held" and _as_published(ratio, finding, measured, measured).verdict == "held"


def _as_published(claim: Claim, finding: Finding, published: Measured, here: Measured) -> Verdict:
    """At tier 2 and stricter: the change from the published ratio lies within ±δ, in every case."""
    before = {(c.group, c.passed): c for c in evaluate(claim, published).cases}
    found: list[tuple[str, str]] = []
    for case in finding.cases:
        old = before.get((case.group, case.passed))
        if case.group is None or old is None or not old.log_ratios:
            continue
        delta = max(DELTA, _band(published, case, claim), _band(here, case, claim))
        found.append(_change(old.log_ratios, case, delta, here.looks))
    if not found:
        return Verdict(claim, finding, "not_testable", "nothing was published that it could be held against")
    word, why = min(found, key=lambda pair: ORDER.index(pair[0]))
    return Verdict(claim, finding, word, why)


def _change(old: Sequence[float], case: Case, delta: float, looks: int) -> tuple[str, str]:
    change = welch(list(old), list(case.log_ratios), looks)
    if not change.known:
        return "inconclusive", f"too few launches for an interval ({case.group}, {case.passed})"
    factor, low, high = (math.exp(x) for x in (change.theta, change.low, change.high))
    said = f"time ratio {factor:.3f} × the published one ({low:.3f}–{high:.3f}), due within ±{math.expm1(delta):.1%}"
    if change.low > delta or change.high < -delta:
        return "failed", f"{said} ({case.group}, {case.passed})"
    if -delta <= change.low and change.high <= delta:
        return "held", said
    return "inconclusive", f"{said} ({case.group}, {case.passed})"


def _band(measured: Measured, case: Case, claim: Claim) -> float:
    """The tie band of a case: what the machine differs from itself by."""
    if case.group is None:
        return margin(claim.device, None)
    row = measured.rows.get((*vars(case.group).values(), case.passed, claim.strategy))
    return margin(claim.device, None) if row is None or math.isnan(row.margin) else math.log1p(row.margin)


def _same_bits(claim: Claim, finding: Finding, published: Measured, tier: Tier) -> Verdict:
    if not tier.bits:
        why = "the same in all launches here; equality with the published ones is not promised in this environment"
        return Verdict(claim, finding, "held", why)
    before = {(c.group, c.passed, c.strategy): c.digest for c in evaluate(claim, published).cases}
    other = [
        f"{c.strategy} at {f'{c.group} ' if c.group else ''}{c.passed}"
        for c in finding.cases
        if before.get((c.group, c.passed, c.strategy), c.digest) != c.digest
    ]
    if other:
        return Verdict(claim, finding, "failed", f"other bits than published: {other[0]} ({len(other)} in all)")
    return Verdict(claim, finding, "held", "the same bits as published")
