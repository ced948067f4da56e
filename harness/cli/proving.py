"""Commands about the meter and about two runs: ``selftest``, ``compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, INCONCLUSIVE, NOTHING_RAN, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import Json, Out


@app.command(epilog="Example: layerbench selftest --full --json")
def selftest(
    full: Annotated[bool, typer.Option("--full", help="100 comparisons, and more recorded launches.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let the meter prove itself on this machine, in 3 minutes. Exit code 1 if it fails in anything."""
    from harness.analyse.frames import proofs
    from harness.report import meter
    from harness.report.terminal import show
    from harness.run.places import free_folder
    from harness.run.selftest import selftest as run_proofs

    with how_to_resume([], None), clear_errors():
        run = run_proofs("full" if full else "standard", out, free_folder)
    found = proofs(run)
    if as_json:
        typer.echo(json.dumps(as_rows(found), indent=2, ensure_ascii=False))
    else:
        show(meter.proofs(found))
    failed = list(dict.fromkeys(found.loc[found["result"] == "failed", "proof"]))
    if failed:
        raise fail(f"on this machine, now, the meter fails in: {', '.join(failed)}", FAILED)


@app.command(epilog="Example: layerbench compare results/before results/after")
def compare(
    before: Annotated[Path, typer.Argument(help="The folder of a run.")],
    after: Annotated[Path, typer.Argument(help="The folder of another run of the same groups.")],
    as_json: Json = False,
) -> None:
    """Say what has become faster or slower between two runs.

    Exit code 1 if anything has become slower, 3 if that cannot be told of anything (nor where the baseline is not the
    same code), 4 if no case is in both.
    """
    from harness.analyse.compare import compare as compared
    from harness.publish.evidence import refuse_odd
    from harness.records.store import read
    from harness.report import meter
    from harness.report.terminal import show

    with clear_errors():
        runs = [read(before), read(after)]
        for folder, run in zip((before, after), runs, strict=True):
            refuse_odd(run)
            for warning in run.warnings:
                typer.echo(f"layerbench: {folder}: {warning}", err=True)
        found = compared(*runs)
    rows = found.rows
    if as_json:
        typer.echo(json.dumps({"notes": found.notes, "cases": as_rows(rows)}, indent=2, ensure_ascii=False))
    else:
        show(meter.comparison(rows))
        for note in found.notes:
            typer.echo(note)
    verdicts = set(rows["verdict"])
    if "slower" in verdicts:
        raise typer.Exit(FAILED)
    if not verdicts - {"missing"}:
        raise fail("no case was measured in both runs", NOTHING_RAN)
    if verdicts <= {"inconclusive", "unknown", "missing"}:
        raise typer.Exit(INCONCLUSIVE)
