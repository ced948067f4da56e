"""Options that several commands share, and what they mean."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import fail


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
    typer.Option("--from", help="More layers or strategies: a file, a folder or a package; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder. Default: one under results/.")]
Timeout = Annotated[
    float, typer.Option(help="Seconds without a sign of life after which a strategy is given up.", min=1)
]
Waive = Annotated[
    list[str] | None,
    typer.Option("--waive", help="CHECK or CHECK:STRATEGY: does not keep it from being timed; repeatable."),
]
Seed = Annotated[int, typer.Option(help="Of all random values.", min=0)]
ProfileOption = Annotated[ProfileName, typer.Option("--profile", help="How much is measured.")]


def seconds(budget: str | None) -> float | None:
    """A time such as 90s, 8m or 1h in seconds; anything else is a usage error."""
    if budget is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", budget)
    if not found or float(found[1]) == 0:
        raise fail(f"--budget {budget}: give a time such as 90s, 8m or 1h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "": 60}[found[2]]


def shard(text: str | None) -> tuple[int, ...]:
    """A shard such as 2/4 as (2, 4), none as (); anything else is a usage error."""
    if text is None:
        return ()
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise fail(f"--shard {text}: give the number of the shard and of how many, such as 1/4 or 4/4")
    return int(found[1]), int(found[2])
