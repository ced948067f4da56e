"""Claims without a file of them: those that the profile set out with, and the strongest that the results give.

The first stand whether they hold or not; the others are few, and marked as written after the fact.
"""

from __future__ import annotations

import dataclasses
import math

from harness.analyse.launches import planned
from harness.publish.claims import QUANTITIES, Claim
from harness.publish.evaluating import Measured, evaluate
from harness.publish.verdicts import repeatable
from harness.records.store import Run

MOST_RATIOS = 2
LARGEST_MEMORY = 0.9
SMALLEST_SPEED_UP = 1.1


def draft(run: Run) -> list[Claim]:
    """A few claims by layer: correct, converges, ratio, winner, memory, bits.

    What the profile declared is there if the run says anything about it; the rest holds with room to spare. A
    threshold is half-way between no effect and the near end of the interval: what is claimed is the effect, and not
    the last digit of one machine's afternoon.
    """
    measured = Measured(run)
    claims: list[Claim] = []
    for layer, device in dict.fromkeys((g["layer"], g["device"]) for g in measured.header.get("groups", [])):
        start = Claim(f"{layer}-{device}", "correct", layer, device=device, drafted=True, operator="<=")
        claims += _plain(measured, start, "correct") + _plain(measured, start, "converges")
        claims += _ratios(measured, start)
        claims += _winner(measured, start)
        claims += _memory(measured, start)
        claims += _plain(measured, start, "bits", dtype="float32")
    return claims


def _plain(measured: Measured, start: Claim, kind: str, **fields: object) -> list[Claim]:
    """A claim about every strategy."""
    if kind not in measured.header.get("profile_claims", ()):
        return _kept(measured, [_named(start, kind, **fields)])
    claim = _named(start, kind, drafted=False, **fields)
    return [] if evaluate(claim, measured).verdict == "not_testable" else [claim]


def _named(start: Claim, kind: str, *more: str, **fields: object) -> Claim:
    ending = "-".join([*(x.replace("_", "-") for x in more), kind])
    return dataclasses.replace(start, id=f"{start.id}-{ending}", kind=kind, **fields)  # type: ignore[arg-type]


def _kept(measured: Measured, claims: list[Claim]) -> list[Claim]:
    return [c for c in claims if evaluate(c, measured).verdict == "held"]


def _places(measured: Measured, start: Claim) -> list[tuple[str, int, str]]:
    """Dtype, threads and pass of what was measured of a layer on a device."""
    found = [
        (dtype, threads, passed)
        for layer, _, dtype, device, threads, passed in planned(measured.run)
        if (layer, device) == (start.layer, start.device)
    ]
    return list(dict.fromkeys(found))


def _ratios(measured: Measured, start: Claim) -> list[Claim]:
    """The largest speed-ups over the baseline that hold at all sizes and can be confirmed, each of another strategy."""
    baseline = measured.header["baselines"][start.layer]
    found: list[tuple[float, Claim]] = []
    for dtype, threads, passed in _places(measured, start):
        for name in _strategies(measured, start):
            trial = _named(start, "ratio", name, passed, strategy=name, against=baseline, dtype=dtype, threads=threads,
                           passed=passed, operator=">=", threshold=1e-9)  # fmt: skip
            low = evaluate(trial, measured).low if name != baseline else None
            if low is not None and low >= SMALLEST_SPEED_UP:
                claim = dataclasses.replace(trial, threshold=_floor((1 + low) / 2))
                found += [(low, claim)] if repeatable(claim, measured) else []
    best: dict[str, Claim] = {}
    for _, claim in sorted(found, key=lambda pair: -pair[0]):
        best.setdefault(claim.strategy, claim)
    return list(best.values())[:MOST_RATIOS]


def _strategies(measured: Measured, start: Claim) -> list[str]:
    found = (r["strategy"] for r in measured.run.of("samples") if r["layer"] == start.layer)
    return [name for name in dict.fromkeys(found) if not measured.waived(start.layer, start.device, name)]


def _winner(measured: Measured, start: Claim) -> list[Claim]:
    """The clearest case of a strategy that beats every other one."""
    best: tuple[float, Claim] | None = None
    places = {(k[1], k[2], k[4], k[5]) for k in measured.rows if (k[0], k[3]) == (start.layer, start.device)}
    for dims, dtype, threads, passed in sorted(places):
        rows = [r for r in measured.rows.values() if (r.layer, r.dims, r.dtype, r.device, r.threads, r.passed)
                == (start.layer, dims, dtype, start.device, threads, passed) and r.status == "ok"]  # fmt: skip
        rows = [r for r in rows if not math.isnan(r.ratio) and not measured.waived(r.layer, r.device, r.strategy)]
        if len(rows) < 2:
            continue
        name = min(rows, key=lambda r: r.ratio).strategy
        claim = _named(start, "winner", name, passed, strategy=name, dtype=dtype, threads=threads, passed=passed,
                       dims=dims, operator=">=", threshold=1.0)  # fmt: skip
        finding = evaluate(claim, measured)
        low = finding.low or 0.0
        if finding.verdict == "held" and low >= SMALLEST_SPEED_UP and (best is None or low > best[0]):
            best = (low, claim)
    return [best[1]] if best else []


def _memory(measured: Measured, start: Claim) -> list[Claim]:
    """The largest saving of bytes against the baseline."""
    baseline = measured.header["baselines"][start.layer]
    found: list[tuple[float, Claim]] = []
    for name in dict.fromkeys(r["strategy"] for r in measured.run.of("memory") if r["layer"] == start.layer):
        waived = measured.waived(start.layer, start.device, name)
        for quantity in QUANTITIES if name != baseline and not waived else ():
            trial = _named(start, "memory", name, quantity, strategy=name, against=baseline, dtype="float32",
                           quantity=quantity, operator="<=", threshold=1e9)  # fmt: skip
            finding = evaluate(trial, measured)
            if finding.verdict == "held" and finding.value is not None and finding.value <= LARGEST_MEMORY:
                threshold = math.ceil((1 + finding.value) / 2 * 100) / 100
                found.append((finding.value, dataclasses.replace(trial, threshold=threshold)))
    return _kept(measured, [min(found, key=lambda pair: pair[0])[1]]) if found else []


def _floor(number: float) -> float:
    return math.floor(number * 20) / 20


def minutes(claim: Claim, run: Measured) -> float:
    """What the cells that a claim needs took in this run, gates included."""
    measured = {f"{group} {passed}" for group, passed in run.groups(claim)}
    total = 0.0
    for cell in run.run.of("cell"):
        name = str(cell["cell"])
        timed = name.startswith("time ") and any(name.startswith(f"time {m} launch") for m in measured)
        gate = name.startswith(f"gate {claim.layer}/") and name.endswith(f" {claim.device}")
        weighed = claim.kind == "memory" and name.startswith(f"memory {claim.layer} ")
        if gate or weighed or (timed and claim.kind in ("ratio", "winner", "bits")):
            total += float(cell["seconds"])
    return round(total / 60, 2)
