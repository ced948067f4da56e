"""Several runs of the same strategies on the same machine as one: more launches, more groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from harness.analyse.launches import baseline_of, definition, planned
from harness.records.modes import KNOWN_PASSES
from harness.records.store import Record, Run

LAUNCHES = 100_000
"""More than a run has: each run's launches keep numbers of their own."""


def merged(runs: Sequence[Run], looks: int) -> Run:
    """One run with the records of all; ``looks`` is how often the data were planned to be looked at.

    Raises:
        ValueError: a layer's baseline is not the same code in all of them, or a pass not the same thing.
    """
    first = runs[0]
    against = {(layer, baseline_of(run, layer)) for run in runs for layer in run.of("run")[0]["baselines"]}
    if len(against) > len({layer for layer, _ in against}):
        raise ValueError("these runs are not one: a layer's baseline is not the same code in all of them")
    timed = {(layer, p, definition(r, layer, p)) for r in runs for layer, *_, p in planned(r)}
    if len(timed) > len({(layer, p) for layer, p, _ in timed}):
        raise ValueError("these runs are not one: a pass is not the same thing in all of them")
    records: dict[str, list[Record]] = {}
    for number, run in enumerate(runs):
        for kind, found in run.records.items():
            if kind in ("samples", "rounds"):
                found = [{**r, "launch": r["launch"] + LAUNCHES * number} for r in found]
            records.setdefault(kind, []).extend(found)
    headers = [run.of("run")[0] for run in runs]
    header = {**headers[0], "looks": looks}
    for name in ("groups", "devices"):
        header[name] = _distinct(x for h in headers for x in h[name])
    header["modes"] = {name: words for h in headers for name, words in h.get("modes", {}).items()}
    header["passes"] = [p for p in KNOWN_PASSES if any(p in h["passes"] for h in headers)]
    header["baselines"] = {k: v for h in headers for k, v in h["baselines"].items()}
    wanted = [h["wanted"] for h in headers]
    header["wanted"] = {
        **wanted[0],
        **{n: _distinct(x for w in wanted for x in w[n]) for n in ("layers", "strategies")},
    }
    records["run"] = [header]
    for kind in ("layer", "strategy"):
        by_name = {(r["layer"], r.get("strategy")): r for r in records.get(kind, [])}
        records[kind] = list(by_name.values())
    return dataclasses.replace(first, records=records)


def _distinct(things: Any) -> list[Any]:
    found: list[Any] = []
    for thing in things:
        if thing not in found:
            found.append(thing)
    return found
