"""What a user may require of a strategy, judged by the gate's records.

A requirement counts as met only where the gate has seen it: what was not checked is not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analyse import frames
from harness.analyse import gate as found
from harness.records.store import Record, Run

ALIASES = {"vmap": "per_sample", "ddp": "data_parallel"}
NEEDS = {"no_compiler": "compiler", "no_triton": "triton"}
OTHER = ("deterministic", "no_gpu", *NEEDS)
KNOWN = (*found.MATRIX, *ALIASES, *OTHER)
"""All that can be required: the checks of the composability matrix, other names for two of them, and four more."""


class UnknownRequirementError(ValueError):
    """Something required that there is no such check for; one clear line."""


def known(names: Sequence[str]) -> tuple[str, ...]:
    """The requirements, each once.

    Raises:
        UnknownRequirementError: with the valid choices.
    """
    for name in names:
        if name not in KNOWN:
            raise UnknownRequirementError(f"unknown requirement {name!r}: choose from {', '.join(KNOWN)}")
    return tuple(dict.fromkeys(names))


def unmet(run: Run, layer: str, device: str, names: Sequence[str]) -> dict[str, list[str]]:
    """What each strategy of a layer does not meet, and why; those that meet all have an empty list."""
    matrix, determinism = found.matrix(run), found.determinism(run)
    reasons: dict[str, list[str]] = {}
    for facts in (r for r in run.of("strategy") if r["layer"] == layer):
        own = [_of(frame, layer, facts["strategy"], device) for frame in (matrix, determinism)]
        said = [_why(name, facts, *own) for name in names]
        reasons[facts["strategy"]] = [reason for reason in said if reason]
    return reasons


def _of(frame: pd.DataFrame, layer: str, strategy: str, device: str) -> pd.DataFrame:
    same = (frame["layer"] == layer) & (frame["strategy"] == strategy) & (frame["device"] == device)
    return frame[same]


def _why(name: str, facts: Record, matrix: pd.DataFrame, determinism: pd.DataFrame) -> str:
    """Why a strategy does not meet a requirement; empty where it does."""
    if name in NEEDS:
        return f"needs {_article(NEEDS[name])}" if NEEDS[name] in facts.get("needs", ()) else ""
    if name == "no_gpu":
        return "" if "cpu" in facts.get("devices", ()) else f"needs a GPU (runs on {', '.join(facts['devices'])})"
    if name == "deterministic":
        return _repeats(determinism)
    check = ALIASES.get(name, name)
    rows = list(frames.rows_of(matrix[matrix["check"] == check]))
    what = found.MATRIX[check]
    if check in facts.get("limits", ()):
        return f"{what} is declared not to be offered"
    if not rows or rows[0].result == "not_run":
        return f"{what} was not checked in this run"
    text = f": {rows[0].detail}" if rows[0].detail else ""
    return {
        "ok": "",
        "limited": f"{what} is not offered{text}",
        "wasteful": f"{what} do not see all that it keeps{text}" if check == "context" else "",
        "ill_conditioned": f"{what} could not be judged on these values{text}",
        "not_applicable": f"{what} does not apply to it{text}",
        "upstream": f"wrong under {what}, by a defect of PyTorch{text}",
        "wrong": f"wrong under {what}{text}",
    }[str(rows[0].result)]


def _article(need: str) -> str:
    return "a C++ compiler" if need == "compiler" else need.capitalize()


def _repeats(determinism: pd.DataFrame) -> str:
    if determinism.empty:
        return "determinism was not checked in this run"
    for row in frames.rows_of(determinism):
        for where, said in (("repeats", row.repeats), ("a fresh process", row.fresh_process)):
            if pd.isna(said):
                return f"determinism of {row.tensor} in {where} was not checked in this run"
            if said != "bitwise":
                return f"not deterministic: {row.tensor} is {said} in {where}"
    return ""
