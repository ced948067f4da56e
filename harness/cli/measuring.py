"""Commands that measure, and make tables and plots of what was measured: ``bench``, ``report``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.app import FAILED, NOTHING_RAN, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import (
    Devices,
    Dtypes,
    From,
    Json,
    Layers,
    Out,
    ProfileName,
    ProfileOption,
    Seed,
    Strategies,
    Threads,
    Timeout,
    Waive,
    seconds,
    shard,
)

SIDE_BY_SIDE = "side-by-side"


@app.command(epilog="Example: layerbench bench --profile quick --layer affine --out /tmp/run")
def bench(
    profile: ProfileOption = ProfileName.default,
    layer: Layers = None,
    strategy: Strategies = None,
    device: Devices = None,
    dtype: Dtypes = None,
    threads: Threads = None,
    baseline: Annotated[
        str, typer.Option(help="The strategy that the others are compared with. Default: the layer's reference.")
    ] = "",
    dims: Annotated[
        list[str] | None, typer.Option("--dims", help="Only these sizes, such as N=7,D=13; repeatable.")
    ] = None,
    passed: Annotated[list[str] | None, typer.Option("--pass", help="Only this pass; repeatable.")] = None,
    launches: Annotated[int | None, typer.Option(help="Fresh processes per group. Default: the profile's.")] = None,
    more: From = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    allocator: Annotated[
        str, typer.Option(help="fixed pins glibc's thresholds in CPU workers; system leaves them to move.")
    ] = "fixed",
    budget: Annotated[str | None, typer.Option(help="End cleanly within this time, such as 8m or 90s.")] = None,
    on: Annotated[
        str,
        typer.Option("--on", help="local; ray for the Ray cluster of this machine or RAY_ADDRESS; ray://HOST:PORT."),
    ] = "local",
    device_kind: Annotated[
        str, typer.Option("--device-kind", help="Of a cluster only machines whose kind has this in its name.")
    ] = "",
    share: Annotated[
        str | None, typer.Option("--shard", help="Only the I-th of N shares of the plan, as I/N; `merge` joins them.")
    ] = None,
    waive: Waive = None,
    seed: Seed = 0,
    timeout: Timeout = 180,
    claims: Annotated[
        Path | None, typer.Option("--claims", help="Claims in TOML that the run begins with, for `seal`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check, measure, write the page, tables and plots. Exit code 0 when the measuring is done and the gate passed."""
    from harness.publish import claims as claiming
    from harness.run.bench import Settings, execute
    from harness.run.jobs import Scope
    from harness.run.places import free_folder, sources
    from harness.run.wanted import GATE_LEVELS, Wanted

    if resume and out is None:
        raise fail("--resume needs --out FOLDER, the run to go on with")
    if on not in ("local", "ray") and not on.startswith("ray://"):
        raise fail(f"--on {on}: choose local, ray or ray://HOST:PORT")
    if on == "local" and device_kind:
        raise fail("--device-kind is for a cluster: give --on ray with it")
    if on != "local" and share:
        raise fail("--shard is for machines without an engine: leave it out with --on ray")
    if resume and claims:
        raise fail("--claims belongs to the beginning of a run: leave it out with --resume")
    chosen = (tuple(layer or ()), tuple(strategy or ()), tuple(device or ()), tuple(dtype or ()), tuple(threads or ()))
    scope = Scope(GATE_LEVELS[profile.value])
    wanted = Wanted(profile.value, *chosen, baseline, launches, seed, allocator, scope)
    wanted = dataclasses.replace(
        wanted, dims=tuple(dims or ()), passes=tuple(passed or ()), shard=shard(share), waive=tuple(waive or ())
    )
    where: list[Path] = [out] if out else []

    def label(environment: dict[str, Any], profile: str) -> Path:
        where.append(free_folder(environment, profile))
        return where[-1]

    with how_to_resume(where, more, on), clear_errors():
        if claims:
            claiming.read_toml(claims)
        settings = Settings(sources(more), out, resume, seconds(budget), timeout, claims=claims)
        if on == "local":
            outcomes = [execute(wanted, settings, label)]
        else:
            from harness.run.kinds import execute_on

            outcomes = execute_on(on, device_kind, wanted, settings, label, lambda text: typer.echo(text, err=True))
        many = len(outcomes) > 1
        measured = sum([_report(outcome.folder, as_json, quiet=many) for outcome in outcomes])
        if many and measured and out:
            folders = [outcome.folder for outcome in outcomes]
            _side_by_side(folders, out / SIDE_BY_SIDE, as_json)
    missed, failures = sum(o.missed for o in outcomes), any(o.failures for o in outcomes)
    if missed:
        raise fail(f"the gate is blind: {missed} planted faults went through, so nothing was measured", FAILED)
    if not measured:
        raise fail("nothing was measured", FAILED if failures else NOTHING_RAN)
    if failures:
        raise typer.Exit(FAILED)


@app.command(epilog="Example: layerbench merge shards/1 shards/2 shards/3 --out results/whole")
def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folders of all shards of one plan.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the whole run.")],
    as_json: Json = False,
) -> None:
    """Join the shards of a plan (`bench --shard`) into one ordinary run, and write its page, tables and plots."""
    from harness.publish.joining import join

    with clear_errors():
        _report(join(shards, out), as_json)


@app.command(epilog="Example: layerbench report results/intel-xeon-2-cores/2026-11-24-default --pdf")
def report(
    runs: Annotated[list[Path], typer.Argument(help="The folder of a run; or of several, to see them side by side.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where several runs are shown side by side: a page and its tables.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write every plot as PDF.")] = False,
    as_json: Json = False,
) -> None:
    """Make the page, tables and plots of a run again, from its records alone; or one page of several runs."""
    from harness.publish.evidence import refuse_odd
    from harness.records.store import read

    if len(runs) > 1 and out is None:
        raise fail("several runs need --out FOLDER, where their page is written")
    if len(runs) == 1 and out is not None:
        raise fail("--out is for several runs side by side: one run's report lies in its own folder")
    if len(runs) > 1 and pdf:
        raise fail("--pdf is for the plots of one run: several runs side by side have none")
    with clear_errors():
        for run in runs:
            refuse_odd(read(run))  # it may be a stranger's: names in it become names of files
        if out is not None:
            _side_by_side(runs, out, as_json)
        else:
            _report(runs[0], as_json, pdf)


def _report(folder: Path, as_json: bool, pdf: bool = False, quiet: bool = False) -> int:
    """Tables, plots, and the verdicts on the terminal unless it is to be quiet; the number of measured cases."""

    from harness.analyse import frames
    from harness.records.store import StoreError, read
    from harness.report import everything, tables
    from harness.report.terminal import show

    run = read(folder)
    for warning in run.warnings:
        typer.echo(f"layerbench: {warning}", err=True)
    try:
        everything.write_all(run, folder, pdf)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from None
    timing = frames.timing(run)
    if quiet:
        typer.echo(f"page:   {folder / 'report.html'}", err=True)
    elif as_json:
        answer = {
            "folder": str(folder),
            "timing": as_rows(timing.drop(columns="order")),
            "gate": as_rows(frames.gate(run)),
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for name, rows in timing.groupby("layer", sort=False):
            typer.echo(f"\n{name}")
            show(tables.main(rows))
        typer.echo(f"\npage:   {folder / 'report.html'}\ntables: {folder / 'tables'}\nplots:  {folder / 'plots'}")
    return int((timing["status"] == "ok").sum())


def _side_by_side(folders: list[Path], out: Path, as_json: bool) -> None:
    """One page of several runs, and the table of each layer on the terminal."""
    from harness.analyse.findings import findings
    from harness.analyse.side_by_side import side_by_side
    from harness.records.store import StoreError, holds_run, read
    from harness.report import runs_page
    from harness.report.terminal import show

    if holds_run(out):
        raise fail(f"--out {out} holds a run: choose another folder, its own page would be lost")
    found = side_by_side([findings(read(folder)) for folder in folders], [folder.resolve().name for folder in folders])
    if found.cases.empty:
        raise fail("none of these runs has a case: nothing was measured in them", NOTHING_RAN)
    try:
        page = runs_page.write(found, out)
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps({"page": str(page), "cases": as_rows(found.cases)}, indent=2, ensure_ascii=False))
        return
    for name, rows in found.cases.groupby("layer", sort=False):
        typer.echo(f"\n{name}")
        show(runs_page.ratios(found, rows))
    typer.echo(f"\npage:   {page}\ntables: {page.parent / 'tables'}")
