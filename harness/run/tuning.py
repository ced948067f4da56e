"""``tune``: which launch configurations are fastest on this device, and the tables that say so from then on.

It runs by itself, never within a benchmark: what is timed there has its configuration from the tables.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from harness.layers.discover import scan
from harness.layers.launches import ANY, Launches, Row, read_table, with_row, write_table
from harness.records.schema import CellEnd, Group
from harness.records.store import Journal, Record
from harness.run import opening
from harness.run.conductor import Conductor, OutOfTimeError
from harness.run.jobs import PARTS, Cell, Job
from harness.run.pool import LocalPool
from harness.run.progress import Reporter
from harness.run.wanted import UsageError, Wanted

DTYPES = ("bfloat16", "float32")
MARGIN = 0.01
"""What a candidate must gain to take the place of what the table has: as much as the tie band of a GPU."""
SIDE_BY_SIDE = max(1, min(12, len(os.sched_getaffinity(0)) - 2))
"""Processes that compile candidates at a time, before any is timed; each has a context and operands on the device."""
SECONDS, CELL_SECONDS = 1.0, 20.0
"""For the samples of candidates timed together, and what a cell takes with its compilations, roughly."""


class NoDeviceError(RuntimeError):
    """There is nothing here to tune for; one clear line."""


@dataclass(frozen=True)
class Choice:
    """What was found for one row of a table.

    Attributes:
        path: of the table.
        old: target, dtypes and size of the row that was taken so far, as they stand there.
        new: the row that is written.
        ratio: its time over the old one's; 1 where the old one stays.
        tried, wrong: candidates beside the old one, and those that were wrong or failed.
    """

    path: Path
    old: tuple[str, str, str]
    new: Row
    ratio: float
    tried: int
    wrong: int


@dataclass(frozen=True)
class Settings:
    """What to tune, and for how long; empty fields mean all."""

    sources: tuple[str, ...]
    layers: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    out: Path | None = None
    budget: float | None = None
    timeout: float = 180.0
    seed: int = 0


def tune(settings: Settings, label: Callable[[Record, str], Path]) -> tuple[Path, list[Choice]]:
    """Try candidates on the device, write the records and then the tables.

    Args:
        label: names the folder of this machine's results where ``out`` is None.

    Returns:
        The folder of the records, and what was found.

    Raises:
        NoDeviceError: no CUDA device, or no strategy with tables among those asked for.
        UsageError, StoreError, SourceError: see there; nothing has run yet.
        WorkerError: workers cannot even start.
    """
    started = time.monotonic()
    folders = {entry.layer: entry.path.parent for entry in scan(settings.sources) if entry.strategy is not None}
    _refuse_unknown(settings, tuple(folders))
    if settings.out is not None:
        opening.check_folder(settings.out, False)
    with tempfile.TemporaryDirectory(prefix="layerbench-") as temporary, Reporter() as reporter:
        scratch = Path(temporary)
        described = opening.describe(settings.sources, scratch, settings.timeout, reporter)
        if not described.environment.get("gpu"):
            raise NoDeviceError("no CUDA device is available to this torch: launches are tuned on the GPU they are for")
        batches = list(cells_of(described, settings, folders))
        cells = [cell for batch in batches for cell in batch]
        if not cells:
            raise NoDeviceError("none of the strategies asked for has tables of launches: nothing to tune")
        folder = settings.out or label(described.environment, "tune")
        found: list[Record] = []
        journal = Journal(folder)
        try:
            wanted = Wanted(profile="tune", layers=settings.layers, measure=False, seed=settings.seed)
            header = opening.header_without_groups(wanted, "cuda")
            journal.write([header, described.environment, CellEnd(0.0)], opening.HEADER, 1)
            reporter.say(f"records: {folder}")
            reporter.estimate(CELL_SECONDS * len(cells), (1 + PARTS) * len(cells))
            deadline = None if settings.budget is None else started + settings.budget
            conductor = Conductor(
                journal,
                reporter,
                LocalPool(scratch),
                settings.timeout,
                attempt=1,
                deadline=deadline,
                heard=found.append,
            )
            try:
                for batch in batches:
                    tried = [dataclasses.replace(c, kind="try", launch=i) for c in batch for i in range(PARTS)]
                    conductor.run(_jobs(tried, settings, SIDE_BY_SIDE), SIDE_BY_SIDE)
                    conductor.run(_jobs(batch, settings, 1))
            except OutOfTimeError:
                reporter.say("the budget is spent: tables are written from what was finished", style="yellow")
        finally:
            journal.close()
    candidates = [r for r in found if r["kind"] == "candidate"]
    made = list(choices(candidates, folders, folder.name, str(described.environment["gpu"])))
    write(made)
    return folder, made


def _jobs(cells: Sequence[Cell], settings: Settings, hands: int) -> list[Job]:
    """The cells dealt out to so many processes."""
    dealt = [tuple(cells[i::hands]) for i in range(min(hands, len(cells)))]
    return [Job(own, settings.sources, "cuda", 1, settings.seed, SECONDS) for own in dealt]


def _refuse_unknown(settings: Settings, layers: Sequence[str]) -> None:
    entries = scan(settings.sources)
    ways = tuple(dict.fromkeys(e.strategy for e in entries if e.strategy is not None))
    asked = (("layer", settings.layers, layers), ("strategy", settings.strategies, ways),
             ("dtype", settings.dtypes, DTYPES))  # fmt: skip
    for what, given, known in asked:
        for name in given:
            if name not in known:
                raise UsageError(f"unknown {what} {name!r}: choose from {', '.join(known)}")


def cells_of(described: opening.Described, settings: Settings, folders: Mapping[str, Path]) -> Iterator[list[Cell]]:
    """A cell for each table × dtype, size by size, the most telling size of each layer first."""
    sizes = {f.layer: f.sizes.get("cuda", {}).get("full", []) for f in described.layers}
    strategies = [
        s for s in described.strategies
        if s.layer in (settings.layers or sizes) and s.layer in sizes and "cuda" in s.devices
        and (s.strategy in settings.strategies or not settings.strategies)
    ]  # fmt: skip
    for place in range(max(map(len, sizes.values()), default=0)):
        batch = [
            Cell("tune", (s.strategy,), Group(s.layer, sizes[s.layer][place], dtype, "cuda", 1), kernel)
            for s in strategies if place < len(sizes[s.layer])
            for kernel in dict.fromkeys(s.kernels) if (folders[s.layer] / "launches" / f"{kernel}.csv").exists()
            for dtype in settings.dtypes or DTYPES
        ]  # fmt: skip
        if batch:
            yield batch


def choices(records: Sequence[Record], folders: Mapping[str, Path], run: str, gpu: str) -> Iterator[Choice]:
    """The best configuration for each row of each table: over all sizes that the row is for, by the mean log-ratio.

    Args:
        records: of candidates.
        run: the name that the row bears as evidence.
    """
    rows: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        rows.setdefault((r["layer"], r["kernel"], r["target"], r["dtype"], *r["row"]), []).append(r)
    for (layer, kernel, target, dtype, *old), mine in rows.items():
        sizes = {r["dims"] for r in mine if r["current"] and r["log_ratios"]}
        if not sizes:
            continue
        logs: dict[tuple[tuple[str, int], ...], list[float]] = {}
        for r in mine:
            if r["result"] == "ok" and r["dims"] in sizes:
                logs.setdefault(tuple(r["config"].items()), []).append(median(r["log_ratios"]))
        means = {config: fmean(found) for config, found in logs.items() if len(found) == len(sizes)}
        current = next(tuple(r["config"].items()) for r in mine if r["current"])
        best = min(means, key=lambda config: means[config])
        if means[best] > math.log1p(-MARGIN):
            best = current
        ratio = math.exp(means[best]) if best != current else 1.0
        count = Counter(r["result"] for r in mine if not r["current"])
        said = f"{1 / ratio:.2f}× the row before" if best != current else f"best of {len(means)}"
        evidence = f"{run}: {said}; {gpu}".replace(",", ";")
        up_to = None if old[2] == ANY else int(old[2])
        yield Choice(
            folders[layer] / "launches" / f"{kernel}.csv", (old[0], old[1], old[2]),
            Row(target, (dtype,), up_to, dict(best), evidence), ratio, sum(count.values()),
            count["wrong"] + count["failed"],
        )  # fmt: skip


def write(made: Sequence[Choice]) -> None:
    """Put the rows into their tables; a row for the same target, dtype and size is replaced."""
    tables: dict[Path, Launches] = {}
    for choice in made:
        table = tables.get(choice.path) or read_table(choice.path)
        old = next(row for row in table.rows if tuple(row.cells[:3]) == choice.old)
        tables[choice.path] = with_row(table, old, choice.new)
    for table in tables.values():
        write_table(table)
