"""Tier 0: nothing is run. Are the files those that were sealed, and does everything in them follow from the records?"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analyse.findings import findings
from harness.publish import claims as claiming
from harness.publish import manifest, statements
from harness.publish.claims import Claim
from harness.publish.drafting import minutes
from harness.publish.evaluating import Measured, evaluate
from harness.publish.evidence import foreign, read_run
from harness.publish.manifest import EVIDENCE, Entry, Manifest
from harness.publish.opening import BundleError
from harness.records.store import CLAIMS, Run
from harness.report import everything, interchange, tables
from harness.report.escaping import terminal

SAME = 1e-9
"""Relative difference of a figure that another NumPy or processor may make."""
MOST_LINES = 5


@dataclass(frozen=True)
class Finding:
    """What was asked, the verdict (``held``, ``failed``, ``not_testable``), and what differs."""

    what: str
    verdict: str
    detail: str = ""


def check(folder: Path, pictures: bool = True) -> list[Finding]:
    """Check a bundle's folder (see opening.opened).

    Args:
        pictures: False leaves plots and page out, which take most of the time.

    Raises:
        BundleError: it is no bundle at all, or not safe to read.
    """
    made, wrong = manifest.verify(folder)
    found = [Finding("digest", "failed", line) for line in wrong]
    found = found or [Finding("digest", "held", f"{len(made.files)} files are as they were sealed")]
    try:
        run = read_run(folder)
    except BundleError as error:
        return [*found, Finding("evidence", "failed", str(error))]
    found.append(Finding("evidence", "held", f"{sum(map(len, run.records.values()))} records are of the schema"))
    for part in (_derived, _statements, _claims):
        try:
            with foreign("the evidence"):
                found += part(folder, made, run, pictures)
        except BundleError as error:
            found.append(Finding(part.__name__.strip("_"), "failed", str(error)))
    return found


def exit_code(found: list[Finding]) -> int:
    """0 where nothing failed, else 1."""
    return int(any(f.verdict == "failed" for f in found))


def _derived(folder: Path, made: Manifest, run: Run, pictures: bool) -> Iterator[Finding]:
    here = manifest.packages()
    other = [f"{k} {made.packages.get(k)} there, {v} here" for k, v in here.items() if made.packages.get(k) != v]
    drawn = pictures and not other
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
        again = Path(scratch)
        pdf = manifest.has_pdf(e.path for e in made.files)
        written = everything.write_all(run, again, pdf) if drawn else _tables(run, again)
        names = [p.relative_to(again).as_posix() for p in written]
        roles: dict[str, list[Entry]] = {"table": [], "picture": []}
        for entry in made.files:
            if entry.role in roles:
                roles[entry.role].append(entry)
        yield from _compared(folder, again, roles["table"], "table", names)
        if drawn:
            yield from _compared(folder, again, roles["picture"], "picture", names)
            extra = sorted(set(names) - {e.path for mine in roles.values() for e in mine})
            yield from (Finding("table", "failed", f"{terminal(n)}: the bundle has none") for n in extra)
        elif roles["picture"]:
            why = f"the report's packages differ: {'; '.join(other)}" if other else "left out"
            yield Finding("picture", "not_testable", f"{len(roles['picture'])} plots and pages: {terminal(why)}")


def _tables(run: Run, folder: Path) -> list[Path]:
    found = findings(run)
    return [*tables.write_all(run, folder / "tables", found), interchange.write(found.have, folder)]


def _compared(folder: Path, again: Path, entries: list[Entry], what: str, names: list[str]) -> Iterator[Finding]:
    same = 0
    for entry in entries:
        if entry.path not in names:
            yield Finding(what, "failed", f"{terminal(entry.path)}: the records give no such file")
            continue
        there = folder / entry.path
        before = there.read_bytes() if there.is_file() else b""
        after = (again / entry.path).read_bytes()
        if before == after:
            same += 1
        else:
            where = "its bytes differ" if what == "picture" else first_difference(before, after)
            yield Finding(what, "failed", f"{terminal(entry.path)}: {where} from what the records give")
    if same == len(entries):
        yield Finding(what, "held", f"{same} files are what the records give, byte for byte")


def first_difference(before: bytes, after: bytes) -> str:
    """The first line that differs, both ways."""
    one, other = (text.decode("utf-8", "replace").split("\n") for text in (before, after))
    for number, (a, b) in enumerate(zip(one, other, strict=False), 1):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            start = max(0, at - 20)
            shown = [terminal(text[start : at + 40]) for text in (a, b)]
            return f"line {number} has {shown[0]!r} and not {shown[1]!r}; it differs"
    return f"{len(one)} lines and not {len(other)}; it differs"


def _statements(folder: Path, made: Manifest, run: Run, pictures: bool) -> Iterator[Finding]:
    failed = False
    for name, due in statements.of_evidence(run).items():
        path = folder / name
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text != due:
            failed = True
            where = _fields_that_differ(text, due) if name.endswith(".json") else ""
            where = where or first_difference(text.encode(), due.encode())
            yield Finding("statement", "failed", f"{name}: {where} from what the records say")
    if not failed:
        yield Finding("statement", "held", "plan, environment, source and packages are what the records say")
    if not {*EVIDENCE} & {f.path for f in made.files}:
        yield Finding("statement", "failed", f"the manifest does not name {EVIDENCE[0]}")


def _fields_that_differ(text: str, due: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "it is not JSON; it differs"
    fields = list(_differing(found, json.loads(due), ""))[:MOST_LINES]
    return terminal(", ".join(fields)) + " differs" if fields else ""


def _differing(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*other, *(k for k in one if k not in other)]:
            yield from _differing(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differing(a, b, f"{path}[{number}]")
    elif one != other:
        yield f"{path or 'the file'} ({str(one)[:40]!r}, not {str(other)[:40]!r})"


def _claims(folder: Path, made: Manifest, run: Run, pictures: bool) -> Iterator[Finding]:
    claims = claiming.read(folder, run.schema)
    measured = Measured(run)
    for claim in claims:
        yield recomputed(claim, measured)
    if not claims:
        yield Finding("claim", "failed", "the bundle claims nothing")
    if before := run.of("run")[0].get("declared"):
        path = folder / CLAIMS
        same = path.is_file() and manifest.digest(path) == before
        words = "is what the run began with" if same else "is not what the run began with"
        yield Finding("claim", "held" if same else "failed", f"{CLAIMS} {words}")


def recomputed(claim: Claim, measured: Measured) -> Finding:
    """Whether a claim's published figures are those that the records give."""
    found = evaluate(claim, measured)
    wrong = [
        f"{name}: {getattr(claim, name)} published, {getattr(found, name)} recomputed"
        for name in ("value", "low", "high")
        if not _close(getattr(claim, name), getattr(found, name))
    ]
    wrong += [
        f"{name}: {getattr(claim, name)} published, {getattr(found, name)} recomputed"
        for name in ("n", "verdict")
        if getattr(claim, name) != getattr(found, name)
    ]
    words = measured.words(claim)
    wrong += [] if claim.waived == words else [f"waived: {claim.waived!r} published, {words!r} recomputed"]
    took = minutes(claim, measured)
    wrong += [] if claim.minutes == took else [f"minutes: {claim.minutes} published, {took} recomputed"]
    if wrong:
        return Finding("claim", "failed", terminal(f"{claim.id}: {'; '.join(wrong)}"))
    stated = "" if claim.verdict == "held" else f" (published as {claim.verdict})"
    return Finding("claim", "held", terminal(f"{claim.id}: {statements.published(claim)}, n = {claim.n}{stated}"))


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME, abs_tol=0.0)
