"""What a bundle says beside its evidence: plan, environment, source, packages, claims, and a page for the reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.analyse.frames import waivers
from harness.publish.claims import Claim, as_fields
from harness.publish.manifest import as_json
from harness.publish.parts import parts
from harness.records.environment import machine_label
from harness.records.store import Run
from harness.report.escaping import markdown

PLAN = ("schema", "started", "sources", "wanted", "baselines", "groups", "passes", "launches", "looks", "devices",
        "allocator")  # fmt: skip
CHECK_MINUTES = 1


def of_evidence(run: Run) -> dict[str, str]:
    """Texts of the statements that follow from the records alone, by file name."""
    header = run.of("run")[0]
    facts = dict(run.of("environment")[0]) if run.of("environment") else {}
    environment = {k: v for k, v in facts.items() if k not in ("kind", "cell", "attempt")}
    source = {
        "commit": environment.get("commit"),
        "dirty": environment.get("dirty"),
        "stack": header.get("stack", {}),
        "digests": header.get("digests", {}),
    }
    packages = environment.get("packages") or {}
    return {
        "plan.json": as_json({name: header.get(name) for name in PLAN}),
        "environment.json": as_json({**environment, "machine_digest": header.get("machine")}),
        "source.json": as_json(source),
        "packages.txt": "".join(f"{name}=={packages[name]}\n" for name in sorted(packages, key=str.lower)),
    }


def of_claims(claims: Sequence[Claim]) -> str:
    """Text of ``claims.json``."""
    return as_json({"schema": 1, "claims": [as_fields(c) for c in claims]})


def citation(run: Run, version: str, authors: Sequence[str]) -> str:
    """Text of ``CITATION.cff``."""
    label, started = _label(run), str(run.of("run")[0].get("started", ""))[:10]
    names = "".join(f"  - name: {_quoted(name)}\n" for name in authors)
    return (
        "cff-version: 1.2.0\n"
        f"title: {_quoted(f'layerbench results: {label}, {started}')}\n"
        'message: "If you use these results, please cite them and name the bundle id of manifest.json."\n'
        "type: dataset\n"
        f"date-released: {_quoted(started)}\n"
        f"authors:\n{names}"
        "references:\n"
        "  - type: software\n"
        '    title: "layerbench"\n'
        f"    version: {_quoted(version)}\n"
        '    authors:\n      - name: "The layerbench authors"\n'
    )


def _quoted(text: str) -> str:
    return as_json(text).strip()


def _label(run: Run) -> str:
    return machine_label(run.of("environment")[0]) if run.of("environment") else "unknown machine"


def readme(run: Run, claims: Sequence[Claim], first: bool) -> str:
    """Text of the bundle's ``README.md``.

    Args:
        first: whether the run began with those of these claims that are not drafted.
    """
    header = run.of("run")[0]
    facts: dict[str, Any] = run.of("environment")[0] if run.of("environment") else {}
    chip = facts.get("gpu") or facts.get("cpu") or "an unknown machine"
    layers = ", ".join(header["wanted"]["layers"])
    commit = str(facts.get("commit") or "an unknown commit")[:12] + (" (with changes)" if facts.get("dirty") else "")
    groups = len(header.get("groups", []))
    lines = [
        f"# Results: {markdown(layers)} on {markdown(chip)}",
        "",
        f"How fast, how large and how right are the ways of implementing {markdown(layers)}? Measured on"
        f" {markdown(chip)} with torch {markdown(facts.get('torch'))}, from {markdown(header.get('started'))}, with"
        f" layerbench at {markdown(commit)}: {groups} groups, {len(header['passes'])} passes,"
        f" {header['launches']} launches.",
        "",
        "## Claims",
        "",
        "| claim | in words | published | n | verdict | minutes | written |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in claims:
        written = "after the results" if c.drafted else "before the run" if first else "declared, when is not on record"
        lines.append(
            f"| {markdown(c.id)} | {markdown(c.sentence)} | {published(c)} | {c.n} | {markdown(c.verdict)} |"
            f" {c.minutes:g} | {written} |"
        )
    if words := waivers(run):
        said = "; ".join(f"{layer}/{name} on {device} {w}" for (layer, name, device), w in words.items())
        lines += ["", f"Timed though the gate refused it, so without a verdict: {markdown(said)}."]
    total = sum(part.minutes for part in parts(claims, run))
    lines += [
        "",
        "## Check it, and run it again",
        "",
        "With layerbench, from the folder that holds this one as `BUNDLE` (or its `.tar.gz`):",
        "",
        "| command | asks | minutes |",
        "| --- | --- | --- |",
        "| `sha256sum -c SHA256SUMS` (in this folder) | are the files whole? | 0 |",
        f"| `layerbench check BUNDLE` | do tables, plots and claims follow from the records? | {CHECK_MINUTES} |",
        f"| `layerbench reproduce BUNDLE` | do the claims hold here, with this code? | about {total:.0f} |",
        "| `layerbench reproduce BUNDLE --claim ID` | does this one? | as above |",
        "| `layerbench diff BUNDLE OTHER` | what differs from another bundle? | 0 |",
        "",
        "Digests show integrity, not honesty: that nothing has changed since it was sealed, not that it is true.",
        "That a claim is true shows when others run it again.",
        "",
        "## Files",
        "",
        "* evidence: `records.jsonl.gz`, every sample as it was taken (`zcat` shows it); nothing else is measured data",
        "* derived from it: `tables/`, `plots/` and whatever else the manifest calls a table or a picture",
        "* statements: `manifest.json`, `SHA256SUMS`, `claims.json`, `plan.json`, `environment.json`, `source.json`,"
        " `packages.txt`, `CITATION.cff` and this page",
        "* `reproductions/`, if there: what others found, outside the digests",
        "",
    ]
    return "\n".join(lines)


def published(c: Claim) -> str:
    """Value and interval of a claim, rounded for people."""
    if c.value is None:
        return "–"
    within = f" ({c.low:.3g}–{c.high:.3g})" if c.low is not None and c.high is not None and c.low != c.high else ""
    return f"{c.value:.3g}{within}"
