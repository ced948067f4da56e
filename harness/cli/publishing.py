"""Commands about bundles: ``seal``, ``claims``, ``check``, ``reproduce``, ``diff``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, app, clear_errors, fail
from harness.cli.options import Json

MARKS = {"held": "✓", "failed": "✗", "error": "✗", "inconclusive": "?", "not_testable": "–"}
Bundle = Annotated[Path, typer.Argument(help="The folder of a sealed run, or its .tar.gz.")]


@app.command(epilog="Example: layerbench seal results/amd-epyc-2-cores/2026-11-23-default --tar bundle.tar.gz")
def seal(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    claims: Annotated[
        Path | None, typer.Option("--claims", help="Claims in TOML. Default: the run's claims.toml, or drafted ones.")
    ] = None,
    tar: Annotated[Path | None, typer.Option("--tar", help="Also write the bundle as this .tar.gz.")] = None,
    author: Annotated[list[str] | None, typer.Option("--author", help="For the citation; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Close a run as a bundle that others can check and run again: derived files, statements, digests of all."""
    from harness.publish import sealing

    with clear_errors():
        made, found = sealing.seal(run, claims, author or ())
        if tar:
            sealing.pack(run, made, tar)
    if as_json:
        answer = {"bundle": made.bundle, "files": len(made.files), "claims": {c.id: c.verdict for c in found}}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    for claim in found:
        drafted = " (drafted)" if claim.drafted else ""
        typer.echo(f"{MARKS[claim.verdict]} {claim.verdict}: {claim.sentence}{drafted}")
    typer.echo(
        f"bundle {made.bundle}: {len(made.files)} files, {len(found)} claims; check with: layerbench check {run}"
    )


@app.command(epilog="Example: layerbench claims results/amd-epyc-2-cores/2026-11-23-default --out claims.toml")
def claims(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Draft a few of the strongest claims from the results of a run, marked as written after the fact."""
    from harness.publish import claims as claiming
    from harness.publish import drafting, sealing
    from harness.publish.evidence import read_run

    with clear_errors():
        found = read_run(run)
        drafted = sealing.with_results(found, drafting.draft(found))
    if not drafted:
        raise fail("no claim holds on this run with room to spare")
    if as_json:
        typer.echo(json.dumps([claiming.as_fields(c) for c in drafted], indent=2, ensure_ascii=False))
        return
    text = claiming.to_toml(drafted)
    if out is None:
        typer.echo(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot write {out}: {error.strerror}") from None


@app.command(epilog="Example: layerbench check results/amd-epyc-2-cores/2026-11-23-default")
def check(
    bundle: Bundle,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots and page again too.")] = True,
    as_json: Json = False,
) -> None:
    """Check a bundle without running anything of it: digests, tables, plots, statements, claims.

    Exit code 1 if anything is not as it was sealed, or does not follow from the records.
    """
    from harness.publish import checking
    from harness.publish.opening import opened

    with clear_errors(), opened(bundle) as folder:
        found = checking.check(folder, plots)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(f) for f in found], indent=2, ensure_ascii=False))
    else:
        for f in found:
            typer.echo(f"{MARKS[f.verdict]} {f.what}: {f.detail}")
    failed = sum(f.verdict == "failed" for f in found)
    if failed:
        raise fail(
            f"{failed} findings: this bundle is not what was sealed, or does not follow from its records", FAILED
        )
