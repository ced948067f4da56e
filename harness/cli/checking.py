"""Commands that look and check, and measure nothing: ``list``, ``verify``, ``audit``."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.app import FAILED, NOTHING_RAN, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import Devices, From, Json, Layers, Out, Seed, Strategies, Timeout, Waive


@app.command("list", epilog="Example: layerbench list --json")
def list_(more: From = None, as_json: Json = False) -> None:
    """Name the layers and strategies that there are, without running any."""
    from harness.layers.discover import scan
    from harness.run.places import OURS

    with clear_errors():
        entries = scan([OURS, *(more or [])])
    if as_json:
        layers: dict[str, dict[str, Any]] = {}
        for e in entries:
            found = layers.setdefault(e.layer, {"summary": "", "strategies": {}})
            if e.strategy is None:
                found["summary"] = e.summary
            else:
                found["strategies"][e.strategy] = e.summary
        typer.echo(json.dumps(layers, indent=2, ensure_ascii=False))
        return
    for e in entries:
        typer.echo(f"{e.layer}: {e.summary}" if e.strategy is None else f"  {e.strategy:<12} {e.summary}")


@app.command(epilog="Example: layerbench verify --layer affine --strategy function")
def verify(
    layer: Layers = None,
    strategy: Strategies = None,
    device: Devices = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what finds wrong numbers.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Search longer, with the dear controls too.")] = False,
    check: Annotated[list[str] | None, typer.Option("--check", help="Only this check; repeatable.")] = None,
    dtype: Annotated[list[str] | None, typer.Option("--dtype", help="Only in this dtype; repeatable.")] = None,
    dims: Annotated[str, typer.Option("--dims", help="Only at these sizes, such as N=7,D=13.")] = "",
    waive: Waive = None,
    more: From = None,
    out: Out = None,
    seed: Seed = 0,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Check outputs, gradients, behaviour and training of each strategy.

    Exit code 1 if anything is wrong that is not waived.
    """
    import tempfile

    from harness.analyse import frames
    from harness.analyse import gate as found
    from harness.records.store import read
    from harness.report import tables
    from harness.report.terminal import show
    from harness.run.bench import Settings, execute
    from harness.run.jobs import Scope
    from harness.run.places import sources
    from harness.run.wanted import Wanted

    if quick and full:
        raise fail("--quick and --full exclude each other: give one of them")
    started = time.monotonic()
    level = "full" if full else "quick" if quick else "standard"
    scope = Scope(level, tuple(check or ()), tuple(dtype or ()), dims)
    wanted = Wanted(
        "quick", tuple(layer or ()), tuple(strategy or ()), tuple(device or ()), seed=seed, scope=scope, measure=False,
        waive=tuple(waive or ()),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch, how_to_resume([], more), clear_errors():
        settings = Settings(sources(more), out or Path(scratch) / "verify", timeout=timeout, measure=False)
        outcome = execute(wanted, settings, lambda *_: Path())
        run = read(outcome.folder)
    gate = found.judged(run)
    matrix, failures, controls = found.matrix(run), found.failures(run, more or ()), found.controls(run)
    if as_json:
        answer = {
            "seconds": round(time.monotonic() - started, 1),
            "summary": found.summary(run),
            "gate": as_rows(gate),
            "matrix": as_rows(matrix),
            "determinism": as_rows(found.determinism(run)),
            "failures": as_rows(failures),
            "controls": as_rows(controls),
            "checks": as_rows(frames.checks(run)),
            "training": run.of("training"),
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        shown = [tables.gate(gate), *([tables.matrix(matrix)] if len(matrix) else [])]
        for table in shown:
            show(table)
            typer.echo("")
        if len(matrix):
            typer.echo(f"{tables.LEGEND}\n")
        named = tables.changed_by_imports(found.changed_by_imports(run))
        unjudged = tables.unjudged(found.open_cases(run))
        for line in (*tables.notes(matrix), *named, *unjudged, *tables.wrong(failures)):
            typer.echo(line)
    if outcome.missed:
        raise fail(
            f"the gate is blind: {outcome.missed} planted faults went through, so its word counts for nothing", FAILED
        )
    match found.outcome(gate):
        case "nothing":
            raise fail("nothing was checked", NOTHING_RAN)
        case "failed":
            raise typer.Exit(FAILED)


@app.command(epilog="Example: layerbench audit --claim once-differentiable-is-loud")
def audit(
    claim: Annotated[list[str] | None, typer.Option("--claim", help="Only this claim; repeatable.")] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Also write all of it as a page (Markdown).")] = None,
    as_json: Json = False,
) -> None:
    """Settle what people believe about custom layers by running it. Exit code 1 if torch behaves otherwise by now."""
    from harness.verify import audit as claims

    if claim and page:
        raise fail("--page holds all the claims: leave out --claim")
    try:
        findings = claims.run(claim or ())
    except claims.UnknownClaimError as error:
        raise fail(str(error)) from None
    if page:
        try:
            page.write_text(claims.to_markdown(findings), encoding="utf-8")
        except OSError as error:
            raise fail(f"cannot write {page}: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=2, ensure_ascii=False))
    else:
        typer.echo(claims.to_text(findings))
    departed = claims.departures(findings)
    if departed:
        names = ", ".join(f.name for f in departed)
        raise fail(f"this torch does not behave as documented: {names}", FAILED)
