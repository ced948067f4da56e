"""Commands that write files to start from: ``new layer``, ``new strategy``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import app, clear_errors
from harness.cli.options import From
from harness.run.places import OURS

new = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write files to start from: a layer, a strategy.")
app.add_typer(new, name="new")


@new.command("layer", epilog="Example: layerbench new layer bend --into mine")
def layer(
    name: Annotated[str, typer.Argument(help="A Python name; the folder gets it.")],
    into: Annotated[Path, typer.Option("--into", help="Where the folder goes. Default: here.")] = Path(),
) -> None:
    """Write a small layer with two strategies that passes the gate as it is."""
    from harness.layers.discover import scan
    from harness.layers.starting import new_layer

    with clear_errors():
        written = new_layer(name, into, {e.layer for e in scan([OURS])})
    for path in written:
        typer.echo(str(path))
    folder = written[0].parent
    typer.echo(_next(name, [str(folder) if len(folder.parts) > 1 else f"./{folder}"]))  # a package may be called so


@new.command("strategy", epilog="Example: layerbench new strategy affine fast")
def strategy(
    layer: Annotated[str, typer.Argument(help="The layer that it is for.")],
    name: Annotated[str, typer.Argument(help="A Python name; the file gets it.")],
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Where the file goes. Default: the layer's folder; for a layer of ours, here."),
    ] = None,
    more: From = None,
) -> None:
    """Write a strategy that is a copy of a layer's plain way."""
    from harness.layers.starting import new_strategy

    with clear_errors():
        written, alone = new_strategy(layer, name, into, [OURS, *(more or [])], OURS)
    typer.echo(str(written))
    typer.echo(_next(layer, [*(more or ()), *([str(written)] if alone else [])], name))


def _next(layer: str, sources: list[str], name: str = "") -> str:
    """The command that checks what was written."""
    words = ["layerbench", "verify", "--quick", "--layer", layer, *(["--strategy", name] if name else [])]
    return f"check with: {shlex.join([*words, *(w for source in sources for w in ('--from', source))])}"
