"""Commands about kernels and their configurations: ``aot``, ``tune``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, NOTHING_RAN, app, as_rows, clear_errors, fail, how_to_resume
from harness.cli.options import From, Json, Layers, Out, Seed, Strategies, Timeout, seconds


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
    from harness.report.terminal import show
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
        show(kernels.table(found))
        typer.echo("")
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


@app.command(epilog="Example: layerbench tune --layer rms_norm --budget 5m")
def tune(
    layer: Layers = None,
    strategy: Strategies = None,
    device: Annotated[str, typer.Option(help="cuda; kernels are not tuned where they don't run.")] = "cuda",
    dtype: Annotated[list[str] | None, typer.Option("--dtype", help="float32 or bfloat16; repeatable.")] = None,
    more: From = None,
    out: Out = None,
    budget: Annotated[str | None, typer.Option(help="End cleanly within this time, such as 5m or 90s.")] = None,
    seed: Seed = 0,
    timeout: Timeout = 180,
    as_json: Json = False,
) -> None:
    """Time launch configurations of Triton kernels on this GPU, and write the best into the tables beside them.

    Each candidate is checked before it is timed. Exit code 4 where there is no GPU, or nothing to tune.
    """
    from harness.run.tuning import NoDeviceError, Settings
    from harness.run.tuning import tune as carry_out

    if device != "cuda":
        raise fail(f"--device {device}: launches are tuned on the GPU they are for: --device cuda")
    chosen = (tuple(layer or ()), tuple(strategy or ()), tuple(dtype or ()))
    from harness.run.places import free_folder, sources

    with how_to_resume([], None), clear_errors():
        settings = Settings(sources(more), *chosen, out, seconds(budget), timeout, seed)
        try:
            folder, made = carry_out(settings, free_folder)
        except NoDeviceError as error:
            raise fail(str(error), NOTHING_RAN) from None
    found = [
        {"table": str(c.path), "target": c.new.target, "dtype": " ".join(c.new.dtypes), "up_to": c.new.up_to,
         "config": dict(c.new.config), "ratio": c.ratio, "tried": c.tried, "wrong": c.wrong}
        for c in made
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "rows": found}, indent=2, ensure_ascii=False))
    for row in () if as_json else found:
        what = f"{1 / row['ratio']:.2f}× the row before" if row["ratio"] != 1 else "the row before stays"  # type: ignore[operator]
        size = f"up to {row['up_to']}" if row["up_to"] else "any size"
        typer.echo(
            f"{row['table']}: {row['target']} {row['dtype']} {size}: {row['config']}: {what} "
            f"({row['tried']} tried, {row['wrong']} wrong or failed)"
        )
    if not found:
        raise fail("nothing was timed", NOTHING_RAN)
