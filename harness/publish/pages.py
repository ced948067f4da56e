"""A reproduction as a page in Markdown, and as files beside the bundle."""

from __future__ import annotations

from pathlib import Path

from harness.publish import reproduce as reproducing
from harness.publish.manifest import as_json
from harness.publish.opening import BundleError
from harness.publish.reproduce import Reproduction
from harness.publish.statements import published
from harness.publish.verdicts import Verdict
from harness.report.escaping import markdown, terminal


def write(found: Reproduction, folder: Path) -> tuple[Path, Path]:
    """Write ``<id>.json`` and ``<id>.md``; returns the paths.

    Raises:
        BundleError: the folder cannot be written.
    """
    paths = (folder / f"{found.id}.json", folder / f"{found.id}.md")
    try:
        texts = (as_json(reproducing.as_fields(found)), page(found))
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"the bundle's facts are no JSON: {error}") from None
    return paths


def page(found: Reproduction) -> str:
    """The page."""
    counts = {v.verdict for v in found.verdicts}
    words = ", ".join(f"{sum(v.verdict == w for v in found.verdicts)} {w.replace('_', ' ')}" for w in sorted(counts))
    lines = [
        f"# Reproduction {found.id} of bundle {markdown(found.bundle)}",
        "",
        f"{words}; {found.minutes:g} minutes. Tier {found.tier.number}: {markdown(found.tier.asked)}.",
        "",
        *(f"* {markdown(why)}" for why in found.tier.why),
        "",
    ]
    if found.changed:
        lines += [
            f"**The source here is not the bundle's: {markdown(', '.join(found.changed))}.** What holds or fails below"
            " is said of the code at hand.",
            "",
        ]
    lines += ["| claim | in words | published | here | verdict | why |", "| --- | --- | --- | --- | --- | --- |"]
    for v in found.verdicts:
        cells = (v.claim.id, v.claim.sentence, f"{published(v.claim)}, n = {v.claim.n}", here(v),
                 v.verdict.replace("_", " "), v.why)  # fmt: skip
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
    lines += ["", "## Environment", "", "| fact | published | here | matters for |", "| --- | --- | --- | --- |"]
    differing = [f for f in found.facts if not f.same]
    for f in differing:
        lines.append(f"| {' | '.join(map(markdown, (f.name, f.published, f.here, f.matters or 'nothing')))} |")
    lines += ["", f"{len(found.facts) - len(differing)} other facts are the same.", ""]
    return "\n".join(lines)


def here(v: Verdict) -> str:
    """Value and interval as found here."""
    f = v.here
    if f.value is None:
        return "–"
    within = f" ({f.low:.3g}–{f.high:.3g})" if f.low is not None and f.high is not None and f.low != f.high else ""
    return f"{f.value:.3g}{within}, n = {f.n}"


def lines(found: Reproduction) -> list[str]:
    """For the terminal."""
    marks = {"held": "✓", "inconclusive": "?", "not_testable": "–"}
    said = []
    for v in found.verdicts:
        figures = f"published {published(v.claim)}, here {here(v)}" if v.here.value is not None else ""
        text = "; ".join(filter(None, (v.claim.sentence, figures, v.why)))
        said.append(terminal(f"{marks.get(v.verdict, '✗')} {v.verdict.replace('_', ' ')}: {v.claim.id}: {text}"))
    return said
