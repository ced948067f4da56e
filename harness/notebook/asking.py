"""``verify`` and ``bench`` run something, ``load`` and ``compare`` look at what was run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.notebook.answers import Changes
from harness.notebook.gated import Verified
from harness.notebook.given import Names, Sources, folders, names
from harness.notebook.results import Run
from harness.publish import claims as claiming
from harness.records import store
from harness.run.jobs import Scope
from harness.run.places import free_folder, sources
from harness.run.wanted import GATE_LEVELS, PROFILES, UsageError, Wanted


class NothingMeasuredError(RuntimeError):
    """A run that ended without any timing; one clear line."""


def verify(
    *,
    layer: Names = (),
    strategy: Names = (),
    device: Names = (),
    quick: bool = False,
    full: bool = False,
    check: Names = (),
    dtype: Names = (),
    dims: str = "",
    waive: Names = (),
    from_: Sources = (),
    out: str | Path | None = None,
    seed: int = 0,
    timeout: float = 180.0,
) -> Verified:
    """Check outputs, gradients, behaviour and training, as ``layerbench verify``; empty means all.

    Args:
        layer, strategy, device, check, dtype: one name or several.
        quick, full: only what finds wrong numbers, or search longer.
        dims: only at these sizes, such as ``N=7,D=13``.
        waive: ``CHECK`` or ``CHECK:STRATEGY``, one or several: what is wrong there is shown, and does not count.
        from_: packages or folders with more layers or strategies.
        out: a folder to keep the records in; without it they live as long as the result.
        timeout: seconds without a sign of life after which a strategy is given up.

    Raises:
        UsageError, SourceError, StoreError: the user can mend it; one clear line.
        WorkerError: workers cannot even start.
    """
    from harness.run.bench import Settings, execute

    more, layers = folders(from_), names("layer", layer)
    level = "full" if full else "quick" if quick else "standard"
    scope = Scope(level, names("check", check), names("dtype", dtype), dims)
    wanted = Wanted(
        "quick", layers, names("strategy", strategy, *layers[:1]), names("device", device), seed=seed, scope=scope,
        measure=False, waive=names("waive", waive),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
        folder = Path(out) if out else Path(scratch) / "verify"
        outcome = execute(wanted, Settings(sources(more), folder, timeout=timeout, measure=False), lambda *_: folder)
        return Verified(store.read(outcome.folder), more)


def bench(
    *,
    profile: str = "default",
    layer: Names = (),
    strategy: Names = (),
    device: Names = (),
    dtype: Names = (),
    threads: int | Iterable[int] = (),
    baseline: str = "",
    dims: Names = (),
    pass_: Names = (),
    launches: int | None = None,
    from_: Sources = (),
    out: str | Path | None = None,
    resume: bool = False,
    allocator: str = "fixed",
    budget: float | None = None,
    seed: int = 0,
    timeout: float = 180.0,
    claims: str | Path | None = None,
    waive: Names = (),
) -> Run:
    """Check, then measure, as ``layerbench bench``; empty means what the profile says.

    The records are in ``out``, or in a new folder under ``results/``. The page, tables and plots are written by the
    result's ``write``.

    Args:
        profile: ``quick``, ``default`` or ``full``.
        layer, strategy, device, dtype, threads, dims, pass_: one or several.
        baseline: what the others are compared with; the layer's reference if empty.
        launches: fresh processes per group; an interval needs five.
        from_: packages or folders with more layers or strategies.
        resume: go on with the run in ``out``.
        budget: seconds that all of it may take.
        timeout: seconds without a sign of life after which a strategy is given up.
        claims: a file of claims in TOML that the run begins with, for ``layerbench seal``.
        waive: ``CHECK`` or ``CHECK:STRATEGY``, one or several: a strategy that is refused for nothing else is timed all
            the same, and its rows have these words instead of a verdict.

    Raises:
        UsageError, SourceError, StoreError, ClaimError: the user can mend it; one clear line.
        WorkerError: workers cannot even start.
        NothingMeasuredError: no strategy could be measured.
        KeyboardInterrupt: with a note on how to go on; finished cells are kept.
    """
    from harness.run.bench import Settings, execute

    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}: choose from {', '.join(PROFILES)}")
    if resume and out is None:
        raise UsageError("resume=True needs out=FOLDER, the run to go on with")
    if resume and claims:
        raise UsageError("claims= belongs to the beginning of a run: leave it out with resume=True")
    declared = Path(claims) if claims else None
    if declared:
        claiming.read_toml(declared)
    layers, counts = names("layer", layer), (threads,) if isinstance(threads, int) else tuple(threads)
    wanted = Wanted(
        profile, layers, names("strategy", strategy, *layers[:1]), names("device", device), names("dtype", dtype),
        counts, baseline, launches, seed, allocator, Scope(GATE_LEVELS[profile]),
        dims=names("dims", dims), passes=names("pass_", pass_), waive=names("waive", waive),
    )  # fmt: skip
    where = [Path(out)] if out else []

    def label(environment: dict[str, Any], profile: str) -> Path:
        where.append(free_folder(environment, profile))
        return where[0]

    more = folders(from_)
    with _how_to_resume(where, more):
        settings = Settings(sources(more), Path(out) if out else None, resume, budget, timeout, claims=declared)
        outcome = execute(wanted, settings, label)
    if outcome.missed:
        raise NothingMeasuredError(
            f"the gate is blind: {outcome.missed} planted faults went through, so nothing was measured"
        )
    run = load(outcome.folder)
    if not (run.timing["status"] == "ok").any():
        raise NothingMeasuredError(f"nothing was measured; load({str(outcome.folder)!r}).timing says why of each case")
    return run


@contextmanager
def _how_to_resume(where: list[Path], more: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        if where:
            again = f", from_={list(more)!r}" if more else ""
            stop.add_note(f"finished cells are kept; go on with: bench(out={str(where[0])!r}, resume=True{again})")
        raise


def load(folder: str | Path) -> Run:
    """Open the folder of a run that was made before, here or elsewhere.

    Raises:
        StoreError: it holds no run.
    """
    return Run(store.read(Path(folder)), Path(folder))


def compare(before: Run | str | Path, after: Run | str | Path) -> Changes:
    """Say what has become faster or slower between two runs of the same groups.

    Raises:
        StoreError: one of the folders holds no run.
    """
    from harness.analyse.compare import compare as compared

    one, other = (run if isinstance(run, Run) else load(run) for run in (before, after))
    return Changes(compared(one.records, other.records))
