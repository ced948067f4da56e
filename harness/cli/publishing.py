"""Commands about bundles: ``seal``, ``claims``, ``check``, ``reproduce``, ``diff``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import From, Json, Timeout
from harness.report.escaping import terminal

MARKS = {"held": "✓", "failed": "✗", "error": "✗", "inconclusive": "?", "not_testable": "–"}
Bundle = Annotated[Path, typer.Argument(help="The folder of a sealed run, or its .tar.gz.")]


@app.command(epilog="Example: layerbench seal results/intel-xeon-2-cores/2026-11-24-default --tar bundle.tar.gz")
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
    from harness.publish import seal as sealing

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


@app.command(epilog="Example: layerbench claims results/intel-xeon-2-cores/2026-11-24-default --out claims.toml")
def claims(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Draft a few of the strongest claims from the results of a run, marked as written after the fact."""
    from harness.publish import claims as claiming
    from harness.publish import drafting
    from harness.publish import seal as sealing
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


@app.command(epilog="Example: layerbench check results/intel-xeon-2-cores/2026-11-24-default")
def check(
    bundle: Bundle,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots and page again too.")] = True,
    as_json: Json = False,
) -> None:
    """Check a bundle without running anything of it: digests, tables, plots, statements, claims.

    Exit code 1 if anything is not as it was sealed, or does not follow from the records.
    """
    from harness.publish import check as checking
    from harness.publish.opening import opened

    with clear_errors(), opened(bundle) as folder:
        found = checking.check(folder, plots)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(f) for f in found], indent=2, ensure_ascii=False))
    else:
        for f in found:
            typer.echo(terminal(f"{MARKS[f.verdict]} {f.what}: {f.detail}"))
    failed = sum(f.verdict == "failed" for f in found)
    if failed:
        raise fail(
            f"{failed} findings: this bundle is not what was sealed, or does not follow from its records", FAILED
        )


@app.command(epilog="Example: layerbench reproduce results/intel-xeon-2-cores/2026-11-24-default --budget 10")
def reproduce(
    bundle: Bundle,
    claim: Annotated[list[str] | None, typer.Option("--claim", "--claims", help="Only this one; repeatable.")] = None,
    mode: Annotated[
        str, typer.Option(help="all, or only numerics (correct, converges, memory, bits), or only timing.")
    ] = "all",
    budget: Annotated[float | None, typer.Option(help="Minutes that all of it may take.", min=0.1)] = None,
    more: From = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the answer goes. Default: reproductions/ in or beside it.")
    ] = None,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Run again what the claims of a bundle need, with the code at hand, and say which of them hold.

    Exit code 0 if all hold, 1 if any failed, 3 if that cannot be told of some, 4 if nothing could be run.
    """
    from harness.publish import pages
    from harness.publish import reproduce as reproducing
    from harness.publish.evidence import read_run
    from harness.publish.opening import opened
    from harness.run.places import sources

    beside = out or (bundle if bundle.is_dir() else bundle.parent) / "reproductions"
    with how_to_resume([], None), clear_errors(), opened(bundle) as folder, _free_work(beside) as work:
        ours = sources(more)
        seed = read_run(folder).of("run")[0]["wanted"].get("seed", 0)
        here = reproducing.look_around(ours, timeout)
        found = reproducing.reproduce(
            folder, claim or (), here, reproducing.runner(ours, seed, timeout), work,
            None if budget is None else 60 * budget, lambda text: typer.echo(terminal(text), err=True), mode,
        )  # fmt: skip
        data, page = pages.write(found, beside)
    if as_json:
        typer.echo(json.dumps(reproducing.as_fields(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(f"tier {found.tier.number}: {found.tier.asked}")
        for line in (*found.tier.why, *(f"differs: {f.name}" for f in found.facts if not f.same and f.matters)):
            typer.echo(f"  {terminal(line)}")
        for line in pages.lines(found):
            typer.echo(line)
        typer.echo(f"{page}\n{data}")
    if found.changed:
        names = terminal(", ".join(found.changed))
        typer.echo(f"layerbench: !! the source here is not the bundle's: {names}", err=True)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


@contextlib.contextmanager
def _free_work(beside: Path) -> Iterator[Path]:
    """A new folder for the runs of a reproduction; its name is the reproduction's. Gone again if nothing was run."""
    made = () if beside.exists() else (beside,)
    work = _new_folder(beside)
    try:
        yield work
    finally:
        for folder in (work, *made):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def _new_folder(beside: Path) -> Path:
    if beside.is_symlink():
        raise fail(f"{beside} is a link: give --out FOLDER")
    stem = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    for number in range(1, 1000):
        work = beside / (stem if number == 1 else f"{stem}-{number}")
        try:
            work.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise fail(f"cannot write to {beside}: {error.strerror}; give --out FOLDER") from None
        return work
    raise fail(f"{beside} is full")


@app.command("diff", epilog="Example: layerbench diff results/before results/after")
def diff(
    first: Bundle,
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """Say what differs between two bundles: environment, code, claims, results."""
    from harness.publish.difference import difference
    from harness.publish.opening import opened
    from harness.report import meter
    from harness.report.terminal import show

    with clear_errors(), opened(first) as one, opened(second) as other:
        found = difference(one, other)
    rows = found.results.rows
    if as_json:
        answer = {
            "environment": [dataclasses.asdict(f) for f in found.environment], "code": found.code,
            "claims": found.claims, "notes": found.results.notes, "results": as_rows(rows),
        }  # fmt: skip
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    facts = [
        f"{f.name}: {f.published} → {f.here}" + (f" ({f.matters})" if f.matters else "") for f in found.environment
    ]
    for title, lines in (("environment", facts), ("code", found.code), ("claims", found.claims)):
        typer.echo(f"{title}: {'no difference' if not lines else ''}".strip())
        for line in lines:
            typer.echo(f"  {terminal(line)}")
    typer.echo("results:")
    show(meter.comparison(rows))
