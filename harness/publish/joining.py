"""The shards of one plan as one ordinary run: what must be the same in them, and the records of all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.records.environment import HARDWARE
from harness.records.schema import SCHEMA
from harness.records.store import CLAIMS, Journal, Record, Run, StoreError, read
from harness.run.opening import check_folder
from harness.run.shards import END, plan_digest
from harness.run.wanted import UsageError

ALIKE = ("layer", "strategy", "check", "training", "control", "waived", "status")
"""Records that several shards may hold alike: each has the gate of the layers that it measures."""
SAME = ("baselines", "passes", "modes", "launches", "looks", "devices", "allocator", "sources", "declared", "digests",
        "plan", "profile_claims")  # fmt: skip


def join(folders: Sequence[Path], out: Path) -> Path:
    """Write the shards in some folders as one run.

    Cells keep their records as they are. A check, a status or a fact that several shards found alike is written once;
    so are roofs, which are of the kind of machine.

    Returns:
        ``out``.

    Raises:
        UsageError: they are not the shards of one plan, measured on one kind of machine and complete; nothing is
            written then.
        StoreError: a folder holds no run, or ``out`` cannot be written.
    """
    check_folder(out, False)
    shards = _in_order(folders, [read(folder) for folder in folders])
    header = _header([run.of("run")[0] for run in shards.values()])
    if plan_digest(header["groups"], header["launches"], header["looks"]) != header["plan"]:
        raise UsageError("the shards' groups are not those of their plan: their records have been changed")
    journal = Journal(out)
    try:
        _write(list(shards.values()), header, journal)
    finally:
        journal.close()
    first = next(iter(shards))
    if (first / CLAIMS).exists():
        try:
            shutil.copyfile(first / CLAIMS, out / CLAIMS)
        except OSError as error:
            raise StoreError(f"cannot copy {first / CLAIMS} to {out}: {error.strerror}") from None
    return out


def _in_order(folders: Sequence[Path], runs: Sequence[Run]) -> dict[Path, Run]:
    """The first shard first."""
    by_number: dict[int, tuple[Path, Run]] = {}
    one, first = folders[0], runs[0].of("run")[0]
    for folder, run in zip(folders, runs, strict=True):
        header = run.of("run")[0]
        if run.schema != SCHEMA:
            raise UsageError(
                f"{folder} has records of schema {run.schema}, not {SCHEMA}: join it by the version it is of"
            )
        shard = header["wanted"].get("shard")
        if not shard:
            raise UsageError(f"{folder} is no shard: bench --shard I/N makes them")
        different = [f"{what} is {b} in {folder} and {a} in {one}" for what, a, b in _of_other_plans(first, header)]
        if different:
            raise UsageError(f"these are shards of different plans: {'; '.join(different)}")
        different = [f"{n} is {b} in {folder} and {a} in {one}" for n, a, b in _of_other_machines(runs[0], run)]
        if different:
            both = f"`layerbench report {one} {folder} --out FOLDER` shows them side by side"
            raise UsageError(f"these are different machines: {'; '.join(different)}; {both}")
        number, of = shard
        if number in by_number:
            raise UsageError(f"shard {number}/{of} is there twice: {by_number[number][0]} and {folder}")
        if END not in run.done:
            raise UsageError(
                f"shard {number}/{of} has not ended: go on with `layerbench bench --resume --out {folder}`"
            )
        by_number[number] = (folder, run)
    of = first["wanted"]["shard"][1]
    missing = [f"{n}/{of}" for n in range(1, of + 1) if n not in by_number]
    if missing:
        raise UsageError(f"{'shard is' if len(missing) == 1 else 'shards are'} missing: {', '.join(missing)}")
    return dict(by_number[n] for n in sorted(by_number))


def _of_other_plans(one: Record, other: Record) -> Iterator[tuple[str, str, str]]:
    """What differs in what two shards were asked for: its name, and both values."""
    asked, also = one["wanted"], other["wanted"]
    if asked["shard"][1] != also["shard"][1]:
        yield "the number of shards", str(asked["shard"][1]), str(also["shard"][1])
    for name in sorted((asked.keys() | also.keys()) - {"shard"}):
        if asked.get(name) != also.get(name):
            yield name, json.dumps(asked.get(name)), json.dumps(also.get(name))
    for name in SAME:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                if a.get(key) != b.get(key):
                    yield f"{name} of {key}", _short(a.get(key)), _short(b.get(key))
        elif a != b:
            yield name, _short(a), _short(b)


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else json.dumps(value)


def _of_other_machines(one: Run, other: Run) -> Iterator[tuple[str, Any, Any]]:
    """Software and hardware by which two machines are not of one kind."""
    a, b = (run.of("environment")[0] | run.of("run")[0]["stack"] for run in (one, other))
    for name in dict.fromkeys([*one.of("run")[0]["stack"], *HARDWARE]):
        if a.get(name) != b.get(name):
            yield name, a.get(name), b.get(name)


def _header(headers: Sequence[Record]) -> Record:
    """Of the whole run: the groups dealt back into their order, and no single machine."""
    groups: list[Record | None] = [None] * sum(len(h["groups"]) for h in headers)
    for number, header in enumerate(headers):
        groups[number :: len(headers)] = header["groups"]
    first = {k: v for k, v in headers[0].items() if k not in ("cell", "attempt")}
    started = min(h["started"] for h in headers)
    shards = [{"started": h["started"], "machine": h["machine"], "groups": len(h["groups"])} for h in headers]
    whole = {"groups": groups, "wanted": {**first["wanted"], "shard": ()}, "started": started, "machine": None}
    return first | whole | {"shards": shards}


def _write(shards: Sequence[Run], header: Record, journal: Journal) -> None:
    """Each closed cell of each shard, under attempts of the shard's own; the header first."""
    known: set[str] = set()
    roofs: set[tuple[str, int]] = set()
    before = 0
    for run in shards:
        bounded = frozenset(roofs)
        for (cell, attempt), records in _by_cell(run).items():
            new = []
            for record in records:
                if record["kind"] == "run":
                    new += [header] if not before else []
                elif record["kind"] == "roof":
                    where = (record["device"], record["threads"])
                    roofs.add(where)
                    new += [record] if where not in bounded else []
                elif record["kind"] not in ALIKE or _is_new(record, known):
                    new.append(record)
            journal.write([_bare(r) for r in new], cell, attempt + before if cell else 0)
        before += run.attempts


def _by_cell(run: Run) -> dict[tuple[str, int], list[Record]]:
    """The records of each closed cell, in the order in which they were closed, its end last; then those of no cell."""
    found: dict[tuple[str, int], list[Record]] = {(r["cell"], r["attempt"]): [] for r in run.of("cell")}
    found["", 0] = []
    for kind in (*(k for k in run.records if k != "cell"), "cell"):
        for record in run.of(kind):
            found[record["cell"], record["attempt"] if record["cell"] else 0].append(record)
    return found


def _is_new(record: Record, known: set[str]) -> bool:
    text = json.dumps(_bare(record), sort_keys=True)
    if text in known:
        return False
    known.add(text)
    return True


def _bare(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in ("cell", "attempt")}
