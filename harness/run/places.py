"""Where layers and strategies come from, and where results go, when nothing else is said."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OURS = "implementations"


def sources(more: Iterable[str] | None) -> tuple[str, ...]:
    """Ours and other people's, as worker processes find them.

    Raises:
        SourceError: one of them cannot be found.
    """
    from harness.layers.discover import resolve

    return (OURS, *map(resolve, more or ()))


def free_folder(environment: dict[str, Any], profile: str) -> Path:
    """A folder under results/ for this machine and day that nobody has used."""
    from harness.records.environment import machine_label

    stem = Path("results") / machine_label(environment) / f"{time.strftime('%Y-%m-%d')}-{profile}"
    return next(
        folder
        for n in range(1, 10_000)
        if not (folder := stem if n == 1 else stem.with_name(f"{stem.name}-{n}")).exists()
    )
