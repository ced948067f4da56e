"""Fates counted, and the report: per file, per check, and each survivor with its line or its proof."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant
from tests.mutation.trial import Fate

EQUIVALENT = Path(__file__).parent / "equivalent.toml"
Key = tuple[str, str, str, str]


def proofs() -> dict[Key, str]:
    """Why each mutant that is known to be equivalent is, by the mutant's key."""
    entries = tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    return {
        (entry["file"], entry["function"], original, mutated): " ".join(entry["proof"].split())
        for entry in entries
        for original, mutated in entry["mutants"]
    }


@dataclass(frozen=True)
class Verdict:
    """A mutant, its fate, and the proof where it is equivalent to the original."""

    mutant: Mutant
    fate: Fate
    proof: str = ""

    @property
    def word(self) -> str:
        """The fate, or ``equivalent``."""
        return "equivalent" if self.fate.outcome == "survived" and self.proof else self.fate.outcome


COLUMNS = ("wrong", "raised", "died", "timeout", "unsupported", "equivalent", "survived")


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """Markdown: a row for each file, and their sum."""
    lines = ["| file | mutants | " + " | ".join(COLUMNS) + " | caught |", "|---|" + "---:|" * (len(COLUMNS) + 2)]
    names = sorted({v.mutant.file for v in verdicts})
    for name in [*names, "all"]:
        mine = [v for v in verdicts if name in ("all", v.mutant.file)]
        count = Counter(v.word for v in mine)
        cells = [str(len(mine)), *(str(count[c]) for c in COLUMNS), f"{share(mine):.1%}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def share(verdicts: Sequence[Verdict]) -> float:
    """Caught ÷ those that are not equivalent."""
    counted = [v for v in verdicts if v.word != "equivalent"]
    return sum(v.word != "survived" for v in counted) / len(counted) if counted else 1.0


def listed(verdicts: Sequence[Verdict], word: str) -> list[str]:
    """Markdown: each mutant with a verdict, its place and its change."""
    lines = []
    for v in verdicts:
        if v.word == word:
            m = v.mutant
            before, after = excerpt(m.original, m.mutated)
            lines += [
                f"* `{m.file}:{m.line}` in `{m.function}` ({m.what}): {v.proof or v.fate.detail}".rstrip(": "),
                f"    * `{before}`",
                f"    * `{after}`",
            ]
    return lines


def excerpt(before: str, after: str, around: int = 40) -> tuple[str, str]:
    """Two statements around the place in which they differ."""
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    start = max(0, start - around)

    def cut(text: str) -> str:
        stop = min(len(text), len(text) - end + around)
        return ("… " if start else "") + text[start:stop] + (" …" if stop < len(text) else "")

    return cut(before), cut(after)


def _same(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def report(verdicts: Sequence[Verdict], seconds: float, refuted: Sequence[Mutant]) -> str:
    """The whole run in Markdown."""
    checks = Counter(v.fate.check for v in verdicts if v.fate.outcome in ("wrong", "raised", "unsupported"))
    lines = [
        "# Mutants of the hand-written gradients", "",
        f"Each change of one place of a backward, of what is saved for it, or of its kernels and launches, run through "
        f"the gate (level `standard`, on the CPU, kernels in Triton's interpreter) to the first check that fails. "
        f"{seconds / 60:.0f} min. `wrong`: a check says so; `raised`: it did not run; `unsupported`: nothing is wrong, "
        f"but a use that the original supports is refused; `caught`: all but the survivors, of those that are not "
        f"proven equivalent.", "", *table(verdicts), "", "## Which check noticed first", "",
        "| check | mutants |", "|---|---:|", *(f"| {name} | {n} |" for name, n in checks.most_common()), "",
    ]  # fmt: skip
    for word, title in (
        ("survived", "Survivors"), ("unsupported", "Refused, not wrong"), ("timeout", "Without an end"),
        ("equivalent", "Equivalent, with proof"),
    ):  # fmt: skip
        found = listed(verdicts, word)
        if found:
            lines += [f"## {title}", "", *found, ""]
    if refuted:
        lines += ["## Proofs that fit no survivor", ""]
        lines += [f"* `{m.file}:{m.line}` `{' → '.join(excerpt(m.original, m.mutated))}`" for m in refuted] + [""]
    return "\n".join(lines)
