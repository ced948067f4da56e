"""What differs between two bundles: environment, code, claims, results."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analyse.compare import Comparison
from harness.analyse.compare import compare as compared
from harness.publish import claims as claiming
from harness.publish.claims import Claim
from harness.publish.environments import Fact, compare
from harness.publish.evidence import foreign, read_run


@dataclass(frozen=True)
class Difference:
    """Two bundles; ``code`` and ``claims`` are one line for each thing that is not the same."""

    environment: tuple[Fact, ...]
    code: tuple[str, ...]
    claims: tuple[str, ...]
    results: Comparison


def difference(one: Path, other: Path) -> Difference:
    """Compare the folders of two bundles.

    Raises:
        BundleError: one of them is none.
    """
    runs = [read_run(folder) for folder in (one, other)]
    before, after = (claiming.read(f, run.schema) for f, run in zip((one, other), runs, strict=True))
    with foreign("the evidence"):
        environments: list[dict[str, Any]] = [r.of("environment")[0] for r in runs]
        facts = tuple(f for f in compare(*environments) if not f.same)
        digests = [r.of("run")[0].get("digests", {}) for r in runs]
        results = compared(*runs)
    return Difference(facts, tuple(_code(*digests)), tuple(_claims(before, after)), results)


def _code(one: dict[str, str], other: dict[str, str]) -> list[str]:
    lines = []
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other:
            lines.append(f"{name}: only in the {'second' if name not in one else 'first'}")
        elif one[name] != other[name]:
            lines.append(f"{name}: another source")
    return lines


def _claims(before: list[Claim], after: list[Claim]) -> list[str]:
    first, second = ({c.id: c for c in claims} for claims in (before, after))
    lines = []
    for name in dict.fromkeys([*first, *second]):
        if name not in first or name not in second:
            lines.append(f"{name}: only in the {'second' if name not in first else 'first'}")
            continue
        a, b = dataclasses.asdict(first[name]), dataclasses.asdict(second[name])
        changed = [f"{k} {a[k]} → {b[k]}" for k in a if a[k] != b[k] and k != "minutes"]
        if changed:
            lines.append(f"{name}: {', '.join(changed)}")
    return lines
