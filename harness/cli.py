"""The command line: one short function a command.

Exit codes: 0 fine · 1 a check failed · 2 bad usage or input · 4 nothing ran · 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which way should I implement this layer? Check that strategies agree, then measure them.",
)

OURS = "implementations"
FAILED, USAGE, NOTHING_RAN, INTERRUPTED = 1, 2, 4, 130


class ProfileName(StrEnum):
    """Names of the profiles."""

    quick = "quick"
    default = "default"
    full = "full"


Layers = Annotated[list[str] | None, typer.Option("--layer", help="Only this layer; repeatable.")]
Strategies = Annotated[
    list[str] | None, typer.Option("--strategy", help="Only this strategy (and the baseline); repeatable.")
]
Devices = Annotated[
    list[str] | None,
    typer.Option("--device", help="cpu or cuda; repeatable. Default: cuda where there is one."),
]
Dtypes = Annotated[
    list[str] | None,
    typer.Option("--dtype", help="float32, bfloat16, …; repeatable. Default: the profile's."),
]
Threads = Annotated[
    list[int] | None,
    typer.Option("--threads", help="CPU threads, an axis of its own; repeatable. Default: 1."),
]
From = Annotated[
    list[str] | None,
    typer.Option("--from", help="More layers or strategies: a package or a folder; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder. Default: one under results/.")]
Timeout = Annotated[
    float, typer.Option(help="Seconds without a sign of life after which a strategy is given up.", min=1)
]
Seed = Annotated[int, typer.Option(help="Of all random values.", min=0)]
ProfileOption = Annotated[ProfileName, typer.Option("--profile", help="How much is measured.")]


def fail(message: str, code: int = USAGE) -> typer.Exit:
    """One clear line on standard error, and the exit that goes with it."""
    typer.echo(f"layerbench: {message}", err=True)
    return typer.Exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into one line and the documented exit code."""
    from harness.layers.discover import SourceError
    from harness.records.store import StoreError
    from harness.run.conductor import WorkerError
    from harness.run.wanted import UsageError

    try:
        yield
    except (SourceError, StoreError, UsageError) as error:
        raise fail(str(error)) from None
    except WorkerError as error:
        raise fail(str(error), FAILED) from None


@app.command("list", epilog="Example: layerbench list --json")
def list_(more: From = None, as_json: Json = False) -> None:
    """Name the layers and strategies that there are, without running any."""
    from harness.layers.discover import scan

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
    more: From = None,
    out: Out = None,
    seed: Seed = 0,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Check outputs, gradients, behaviour and training of each strategy. Exit code 1 if anything is wrong."""
    import tempfile

    from harness.analyse import frames
    from harness.analyse import gate as found
    from harness.records.store import read
    from harness.report import tables
    from harness.run.bench import Settings, execute
    from harness.run.jobs import Scope
    from harness.run.wanted import Wanted

    started = time.monotonic()
    level = "full" if full else "quick" if quick else "standard"
    scope = Scope(level, tuple(check or ()), tuple(dtype or ()), dims)
    wanted = Wanted(
        "quick", tuple(layer or ()), tuple(strategy or ()), tuple(device or ()), seed=seed, scope=scope, measure=False
    )
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch, _how_to_resume([], more), clear_errors():
        settings = Settings(_sources(more), out or Path(scratch) / "verify", timeout=timeout, measure=False)
        outcome = execute(wanted, settings, lambda *_: Path())
        run = read(outcome.folder)
    gate = frames.gate(run)
    gate = gate[gate["strategy"].isin([*strategy, frames.LAYER_ITSELF])] if strategy else gate
    matrix, failures, controls = found.matrix(run), found.failures(run, more or ()), found.controls(run)
    if as_json:
        answer = {
            "seconds": round(time.monotonic() - started, 1),
            "summary": found.summary(run),
            "gate": _rows(gate),
            "matrix": _rows(matrix),
            "determinism": _rows(found.determinism(run)),
            "failures": _rows(failures),
            "controls": _rows(controls),
            "checks": _rows(frames.checks(run)),
            "training": run.of("training"),
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        shown = [tables.gate(gate), *([tables.matrix(matrix)] if len(matrix) else [])]
        for table in shown:
            typer.echo(table.to_markdown(index=False, disable_numparse=True) + "\n")
        for line in (*tables.notes(matrix), *tables.wrong(failures)):
            typer.echo(line)
    if outcome.missed:
        raise fail(
            f"the gate is blind: {outcome.missed} planted faults went through, so its word counts for nothing", FAILED
        )
    _exit_by(gate, bool(len(gate)))


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
    launches: Annotated[int | None, typer.Option(help="Fresh processes per group. Default: the profile's.")] = None,
    more: From = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    budget: Annotated[str | None, typer.Option(help="End cleanly within this time, such as 8m or 90s.")] = None,
    seed: Seed = 0,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Check, then measure, then write tables and plots. Exit code 0 when the measuring is done and the gate passed."""
    from harness.run.bench import Settings, execute
    from harness.run.jobs import Scope
    from harness.run.wanted import Wanted

    if resume and out is None:
        raise fail("--resume needs --out FOLDER, the run to go on with")
    chosen = (tuple(layer or ()), tuple(strategy or ()), tuple(device or ()), tuple(dtype or ()), tuple(threads or ()))
    scope = Scope({"quick": "quick", "default": "standard", "full": "full"}[profile.value])
    wanted = Wanted(profile.value, *chosen, baseline, launches, seed, scope)
    where: list[Path] = [out] if out else []

    def label(environment: dict[str, Any], profile: str) -> Path:
        where.append(_free_folder(environment, profile))
        return where[0]

    with _how_to_resume(where, more), clear_errors():
        settings = Settings(_sources(more), out, resume, _seconds(budget), timeout)
        outcome = execute(wanted, settings, label)
        measured = _report(outcome.folder, as_json)
    if outcome.missed:
        raise fail(f"the gate is blind: {outcome.missed} planted faults went through, so nothing was measured", FAILED)
    if not measured:
        raise fail("nothing was measured", FAILED if outcome.failures else NOTHING_RAN)
    if outcome.failures:
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


@app.command(epilog="Example: layerbench report results/amd-epyc-2-cores/2026-11-22-default")
def report(run: Annotated[Path, typer.Argument(help="The folder of a run.")], as_json: Json = False) -> None:
    """Make the tables and plots of a run again, from its records alone."""
    with clear_errors():
        _report(run, as_json)


def _sources(more: list[str] | None) -> tuple[str, ...]:
    """Ours and other people's, as worker processes find them."""
    from harness.layers.discover import resolve

    return (OURS, *map(resolve, more or ()))


def _report(folder: Path, as_json: bool) -> int:
    """Tables, plots, and the verdicts on the terminal; the number of measured cases."""
    from harness.analyse import frames
    from harness.records.store import StoreError, read
    from harness.report import plots, tables

    run = read(folder)
    for warning in run.warnings:
        typer.echo(f"layerbench: {warning}", err=True)
    try:
        tables.write_all(run, folder / "tables")
        plots.write_all(run, folder / "plots")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from None
    timing = frames.timing(run)
    if as_json:
        answer = {
            "folder": str(folder),
            "timing": _rows(timing.drop(columns="order")),
            "gate": _rows(frames.gate(run)),
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for name, rows in timing.groupby("layer", sort=False):
            typer.echo(f"\n{name}\n{tables.main(rows).to_markdown(index=False, disable_numparse=True)}")
        typer.echo(f"\ntables: {folder / 'tables'}\nplots:  {folder / 'plots'}")
    return int((timing["status"] == "ok").sum())


def _rows(frame: Any) -> Any:
    """A frame as JSON rows, every digit kept; NaN becomes null."""
    return [{k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]


def _exit_by(gate: Any, ran: bool) -> None:
    if (gate["result"] == "not_run").all():
        raise fail("nothing was checked", NOTHING_RAN)
    wrong = ~gate["result"].isin(["ok", "unsupported", "skipped"])
    if wrong.any():
        raise typer.Exit(FAILED)
    if not ran or not (gate["result"] == "ok").any():
        raise fail("nothing was checked", NOTHING_RAN)


def _seconds(budget: str | None) -> float | None:
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget)
    if not found or float(found[1]) == 0:
        raise fail(f"--budget {budget}: give a time such as 90s, 8m or 1h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "": 60}[found[2]]


def _free_folder(environment: dict[str, Any], profile: str) -> Path:
    """A folder under results/ for this machine and day that nobody has used."""
    from harness.records.environment import machine_label

    stem = Path("results") / machine_label(environment) / f"{time.strftime('%Y-%m-%d')}-{profile}"
    return next(
        folder
        for n in range(1, 10_000)
        if not (folder := stem if n == 1 else stem.with_name(f"{stem.name}-{n}")).exists()
    )


@contextmanager
def _how_to_resume(where: list[Path], more: list[str] | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        again = "".join(f" --from {source}" for source in more or ())
        hint = f"; go on with: layerbench bench --resume --out {where[0]}{again}" if where else ""
        raise fail(f"interrupted; finished cells are kept{hint}", INTERRUPTED) from None


def main() -> None:
    """Run the command line."""
    app(prog_name="layerbench" if not sys.argv[0].endswith("__main__.py") else "python -m harness")
