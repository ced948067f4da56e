"""Commands about the meter and about two runs: ``selftest``, ``compare``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.cli.app import FAILED, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import Json, Out, free_folder


@app.command(epilog="Example: layerbench selftest --full --json")
def selftest(
    full: Annotated[bool, typer.Option("--full", help="100 comparisons and recorded launches, 25 min.")] = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let the meter prove itself on this machine, in 3 minutes. Exit code 1 if it fails in anything."""
    from harness.analyse.frames import proofs
    from harness.report import meter
    from harness.run.selftest import selftest as run_proofs

    with how_to_resume([], None), clear_errors():
        run = run_proofs("full" if full else "standard", out, free_folder)
    found = proofs(run)
    if as_json:
        typer.echo(json.dumps(as_rows(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(meter.proofs(found).to_markdown(index=False, disable_numparse=True))
    failed = list(dict.fromkeys(found.loc[found["result"] == "failed", "proof"]))
    if failed:
        raise fail(f"on this machine, now, the meter fails in: {', '.join(failed)}", FAILED)
