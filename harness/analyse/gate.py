"""What the gate found, as frames: what a strategy can be combined with, how far it repeats, failures and controls."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from harness.analyse import frames
from harness.records.advice import of_check, with_next
from harness.records.schema import JUDGE
from harness.records.store import Record, Run

MATRIX = {
    "double_backward": "double backward",
    "forward_ad": "forward AD",
    "func_grad": "func.grad",
    "per_sample": "vmap(grad)",
    "through_vmap": "grad(vmap)",
    "jacrev": "jacrev",
    "compile": "compile",
    "autocast": "autocast",
    "checkpoint": "checkpoint",
    "accumulation": "accumulation",
    "frozen": "frozen inputs",
    "layouts": "strided inputs",
    "cotangents": "strided cotangents",
    "leading_dims": "leading dims",
    "empty": "empty batch",
    "copies": "copies",
    "data_parallel": "DDP",
    "context": "saved-tensor hooks",
}
"""What a strategy can be combined with: the check, and its heading."""

BESIDE = {"backward_returns": "frozen"}
"""Checks without a column of their own, and those whose column tells of them too."""

ORDER = ("ok", "not_applicable", "not_run", "ill_conditioned", "wasteful", "limited", "upstream", "wrong")
"""Results from good to bad; ``upstream`` is a wrong answer that was shown to come from PyTorch."""

CASE = ["layer", "strategy", "device"]

PASSED = ("ok", frames.WAIVED)
"""Results of strategies that are timed."""

NOT_HERE = ("unsupported", "skipped")
"""Results of strategies that cannot run on this machine, which is not wrong."""


UNTOLD = (*NOT_HERE, "unchecked")
"""Results that say nothing for or against a strategy."""


def judged(run: Run) -> pd.DataFrame:
    """The gate's rows of what was asked for, without the baselines that were only needed for it."""
    gate = frames.gate(run)
    return gate[gate["strategy"].isin([*run.of("run")[0]["wanted"]["strategies"], frames.LAYER_ITSELF])]


def outcome(gate: pd.DataFrame) -> Literal["passed", "failed", "nothing"]:
    """What all its rows come to; ``nothing`` where nothing was checked."""
    if (gate["result"] == "not_run").all():
        return "nothing"
    if not gate["result"].isin([*PASSED, *NOT_HERE]).all():
        return "failed"
    return "passed" if gate["result"].isin(PASSED).any() else "nothing"


def matrix(run: Run) -> pd.DataFrame:
    """One row for each strategy × check of the composability matrix: the worst result, its error ÷ bound, its text.

    A tensor whose true answer is 0 tells nothing of a combination, and is left to the others.
    """
    frame = _checks(run)
    frame["check"] = frame["check"].replace(BESIDE)
    frame = frame[frame["check"].isin(list(MATRIX)) & ~((frame["outcome"] == "ill_conditioned") & frame["vanishes"])]
    rows = []
    for key, same in frame.groupby([*CASE, "check"], sort=False):
        worst = same.sort_values(["rank", "ratio"], kind="stable", na_position="first").iloc[-1]
        text = worst["upstream"] or (worst["detail"] if worst["outcome"] != "ok" else "")
        if worst["outcome"] == "wrong":
            text = with_next(text, of_check(str(worst["check"]))).removeprefix("; ")
        rows.append([*key, worst["outcome"], same["ratio"].max(), text])
    return pd.DataFrame(rows, columns=[*CASE, "check", "result", "worst", "detail"])


def determinism(run: Run) -> pd.DataFrame:
    """One row for each strategy × tensor: its class over repeats in one process and over fresh processes."""
    frame = _checks(run)
    frame = frame[frame["check"].isin(["repeats", "fresh_process"])]
    if frame.empty:
        return pd.DataFrame(columns=[*CASE, "tensor", "repeats", "fresh_process"])
    wide = frame.pivot_table(index=[*CASE, "tensor"], columns="check", values="detail", aggfunc="first", sort=False)
    return wide.reindex(columns=["repeats", "fresh_process"]).reset_index().rename_axis(columns=None)


def changed_by_imports(run: Run) -> pd.DataFrame:
    """One row for each strategy whose import changes global state that nothing here rests on, with what it changes."""
    frame = _checks(run)
    named = frame[(frame["check"] == "global_state") & (frame["outcome"] == "ok") & (frame["detail"] != "")]
    return named[[*CASE, "detail"]]


def controls(run: Run) -> pd.DataFrame:
    """One row for each planted fault: the check that must catch it, and whether it did."""
    return pd.DataFrame(run.of("control"), columns=["control", "fault", "device", "check", "result", "detail"])


def failures(run: Run, sources: Sequence[str] | None = None) -> pd.DataFrame:
    """Every wrong answer, in the order of the checks, with the command that asks for just that again.

    Args:
        sources: as given to ``--from``; the records hold the last part of their names only.
    """
    frame = _checks(run)
    frame = frame[frame["outcome"] == "wrong"].copy()
    sources = run.of("run")[0]["sources"][1:] if sources is None else sources
    frame["again"] = [_again(row, sources) for row in frame.to_dict("records")]
    columns = [*CASE, "check", "setting", "tensor", "dtype", "dims", "seed", "error", "bound", "detail", "again"]
    return frame[columns]


def open_cases(run: Run) -> pd.DataFrame:
    """Checks that could not be judged: too few digits, a dtype that the reference lacks, the judge's failure."""
    frame = _checks(run)
    unasked = (frame["result"] == "not_run") & (
        frame["check"].isin(["values", "gradcheck"]) | (frame["tensor"] == JUDGE)
    )
    chosen = frame[(frame["result"] == "ill_conditioned") | unasked]
    return chosen.drop_duplicates([*CASE, "check", "tensor", "dtype", "dims", "result"])


def _again(row: dict[Any, Any], sources: Sequence[str]) -> str:
    words = ["python", "-m", "harness", "verify", "--layer", row["layer"], "--strategy", row["strategy"]]
    words += ["--device", row["device"], "--check", row["check"], "--dtype", row["dtype"], "--dims", row["dims"]]
    words += ["--seed", str(row["seed"]), *(w for source in sources for w in ("--from", source))]
    return shlex.join(words)


def _checks(run: Run) -> pd.DataFrame:
    """All checks, with ``outcome`` (``upstream`` apart from ``wrong``), its ``rank``, and error ÷ bound."""
    frame = frames.checks(run)
    if frame.empty:
        names = [*CASE, "check", "setting", "tensor", "dtype", "dims", "seed", "error", "bound", "detail", "result"]
        frame = pd.DataFrame(columns=[*names, "upstream"])
    for name in ("setting", "upstream"):
        frame[name] = frame[name].fillna("") if name in frame else ""
    frame["vanishes"] = frame["vanishes"].eq(True) if "vanishes" in frame else False
    frame["outcome"] = frame["result"].where(frame["upstream"] == "", "upstream")
    frame["rank"] = frame["outcome"].map(ORDER.index).astype(int)
    frame["ratio"] = frame["error"].astype(float) / frame["bound"].astype(float)
    return frame


def summary(run: Run) -> Record:
    """Counts: checks by outcome, controls by result."""
    checks = _checks(run)["outcome"].value_counts().to_dict()
    return {"checks": checks, "controls": controls(run)["result"].value_counts().to_dict()}
