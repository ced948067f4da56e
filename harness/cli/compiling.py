"""Commands about kernels and their configurations: ``aot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, NOTHING_RAN, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import From, Json, Layers, Timeout


@app.command(epilog="Example: layerbench aot --layer affine --target sm_90")
def aot(
    layer: Layers = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="sm_80, sm_90, sm_100 or gfx942; repeatable. Default: all.")
    ] = None,
    more: From = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the table to FILE.md or FILE.csv.")] = None,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Compile every Triton kernel for several GPUs, without having one, and show what it takes there.

    Exit code 1 where a kernel does not compile, spills on NVIDIA or takes more shared memory than the target has,
    4 where nothing was compiled.
    """
    from harness.report import kernels
    from harness.run.ahead import compile_all
    from harness.run.places import sources

    if out and out.suffix not in (".md", ".csv"):
        raise fail(f"--out {out}: give a file that ends in .md or .csv")
    with how_to_resume([], None), clear_errors():
        done = compile_all(sources(more), layer or (), target or (), timeout)
    found = kernels.frame(done.compiled)
    if out:
        try:
            kernels.write(out, found)
        except OSError as error:
            raise fail(f"cannot write {out}: {error.strerror}") from None
    if as_json:
        answer = {"kernels": as_rows(found.astype(object).where(found.notna(), None)), "statuses": list(done.statuses)}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        typer.echo(kernels.table(found).to_markdown(index=False, disable_numparse=True) + "\n")
        for line in kernels.summary(found):
            typer.echo(line)
    for status in done.statuses:
        where = f" for {status['device']}" if status["device"] else ""
        typer.echo(f"layerbench: {status['layer']}/{status['strategy']}{where}: {status['reason']}", err=True)
    broken = any(status["status"] != "unsupported" for status in done.statuses)
    if not found["result"].isin(["ok", "over"]).any():
        raise fail("nothing was compiled", FAILED if broken or len(found) else NOTHING_RAN)
    if broken or not found["result"].isin(["ok", "missing"]).all():
        raise typer.Exit(FAILED)
