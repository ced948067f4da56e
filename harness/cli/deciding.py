"""The command that answers which strategy to take: ``choose``."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import FAILED, INCONCLUSIVE, NOTHING_RAN, app, clear_errors, fail
from harness.cli.options import Json

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class ObjectiveName(StrEnum):
    """What is to be small."""

    latency = "latency"
    memory = "memory"
    first_step = "first_step"


class PassName(StrEnum):
    """Passes by name."""

    forward = "forward"
    inference = "inference"
    backward = "backward"
    forward_backward = "forward_backward"
    step = "step"
    step_with_loss = "step_with_loss"
    per_sample = "per_sample"
    ensemble = "ensemble"


@app.command(
    epilog="Example: layerbench choose results/intel-xeon-2-cores/2026-11-24-default --layer affine --require vmap"
)
def choose(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    layer: Annotated[str, typer.Option("--layer", help="The layer.")],
    device: Annotated[str, typer.Option(help="cpu or cuda. Default: the run's first.")] = "",
    dtype: Annotated[str, typer.Option(help="Default: the run's first.")] = "",
    dims: Annotated[str, typer.Option(help="Sizes, such as N=512,D=512. Default: the layer's most telling.")] = "",
    passed: Annotated[PassName | None, typer.Option("--pass", help="Default: forward_backward.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads. Default: the run's first.", min=0)] = 0,
    objective: Annotated[ObjectiveName, typer.Option(help="What is to be small.")] = ObjectiveName.latency,
    steps: Annotated[int, typer.Option(help="Calls in the process's life: compile time counts.", min=0)] = 0,
    max_memory: Annotated[
        str, typer.Option(help="What the pass may hold above parameters and inputs, such as 512MB or 64KiB.")
    ] = "",
    require: Annotated[
        list[str] | None,
        typer.Option(help="double_backward, vmap, compile, deterministic, no_compiler, no_gpu, …; commas; repeatable."),
    ] = None,
    allow_waived: Annotated[
        bool, typer.Option("--allow-waived", help="Also of strategies that were timed by a waiver.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which strategy to take, by how much, how sure that is, and why not the others.

    Exit codes: 0 a settled pick · 1 no strategy does what is required · 2 bad input · 3 not settled, or a size outside
    of what was measured · 4 nothing was measured.
    """
    from rich.console import Console

    from harness.analyse import choose as choosing
    from harness.analyse.contending import Question, evidence
    from harness.analyse.requirements import UnknownRequirementError
    from harness.analyse.sizes import OutsideError
    from harness.publish.evidence import refuse_odd
    from harness.records.store import read
    from harness.report import answer as words
    from harness.report.terminal import say, show

    required = [name.strip() for names in require or () for name in names.split(",") if name.strip()]
    question = Question(
        layer, dims, dtype, device, threads, passed.value if passed else "", objective.value, steps,
        _bytes(max_memory), tuple(required), allow_waived,
    )  # fmt: skip
    with clear_errors():
        records = read(run)
        refuse_odd(records)
        have = evidence(records)
    if not any(contest.seconds for contest in have.contests.values()):
        raise fail(f"{run} holds no timing: nothing was measured", NOTHING_RAN)
    try:
        answer = choosing.choose(have, question)
    except (choosing.QuestionError, UnknownRequirementError) as error:
        raise fail(str(error)) from None
    except OutsideError as error:
        raise fail(str(error), INCONCLUSIVE) from None
    if as_json:
        typer.echo(json.dumps(words.as_json(answer), indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        say(words.sentence(answer), console, "bold")
        if answer.standings:
            typer.echo("")
            show(words.table(answer), console)
        for title, lines in words.rest(answer):
            typer.echo(f"\n{title}:")
            for line in lines:
                say(f"  {line}", console)
    if answer.ranking is None:
        raise typer.Exit(FAILED if answer.launches else NOTHING_RAN)
    if not answer.settled:
        raise typer.Exit(INCONCLUSIVE)


def _bytes(text: str) -> float | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", text.upper())
    if not found:
        raise fail(f"--max-memory {text}: give bytes such as 512MB, 64KiB or 1000000")
    return float(found[1]) * UNITS[found[2] or ""]
