"""From records to pandas: every figure that is ever shown is computed here, from raw samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.doubts import doubted
from harness.analyse.launches import (
    CASE,
    DERIVED,
    GROUP,
    NOISY_SHARE,
    Launches,
    arms_of,
    derived,
    differences,
    planned,
    pressure_of,
    untold,
)
from harness.analyse.statistics import FEWEST_LAUNCHES, Interval, interval, margin, verdict
from harness.records.dims import sizes_of
from harness.records.modes import KNOWN_PASSES
from harness.records.schema import Group
from harness.records.store import Record, Run

DISPATCH_BOUND = 1.2
"""A case waits for its launches where its wall time is more than this times its time on the hot device."""

LAYER_ITSELF = "(the layer itself)"
"""In the gate's frame, instead of a strategy, where a layer does not load."""

STEP_PEAKS = {"step_peak": "peak of a step", "step_with_loss_peak": "peak of a step with loss"}
"""Columns of the memory frame, with their titles: a run has the one of its own kind of step."""

NOT_MEASURED = "the run ended before it was measured"

WAIVED = "waived"
"""Result of a strategy that is timed though the gate refused it; its verdicts begin with the word."""


def rows_of(frame: pd.DataFrame) -> Iterator[SimpleNamespace]:
    """Rows with columns as attributes; ``pass`` is spelled ``passed``."""
    for row in frame.to_dict("records"):
        yield SimpleNamespace(**{"passed" if key == "pass" else str(key): value for key, value in row.items()})


def size(dims: str) -> int:
    """Product of the sizes, for axes and sorting; options count nothing."""
    return math.prod(sizes_of(dims).values())


def timing(run: Run, regime: str = "wall") -> pd.DataFrame:
    """One row for each planned case (group × pass × strategy), measured or not, in one regime.

    Columns: the case; ``status`` and ``reason``; ``latency`` (seconds a call, median over all rounds of all launches;
    machines wander, so compare strategies by the paired ratio, not by these); ``ratio``, ``ratio_low``, ``ratio_high``
    (time over the baseline's time); ``verdict`` (``waived: CHECK`` where there is none); ``launches``; ``rounds``;
    ``margin`` (half-width of the tie band, as a ratio − 1); ``noise`` (the baseline against itself, a ratio too);
    ``flags``, some of which rule a verdict out (see doubts.py).
    """
    header = run.of("run")[0]
    baselines = header["baselines"]
    arms, pressure = arms_of(run.of("samples"), regime), pressure_of(run.of("rounds"))
    names = _strategies(run)
    statuses, words = _statuses(run, names), waivers(run)
    rows = []
    for *key, passed in planned(run):
        group = tuple(key)
        found = arms.get((*group, passed), {})
        lost = {} if found else untold(arms, group, passed)
        rows += _group_rows(
            statuses, group, passed, found or derived(arms, group, passed), names.get(group[0], []),
            baselines[group[0]], int(header.get("looks", 1)), pressure.get((*group, passed), 0.0), lost,
        )  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*CASE, *_TIMING])
    frame["verdict"] = [
        words.get((r.layer, r.strategy, r.device), r.verdict) if r.status == "ok" else r.verdict for r in rows_of(frame)
    ]
    frame["order"] = frame["pass"].map(KNOWN_PASSES.index) if len(frame) else []
    if regime == "wall" and (frame["device"] == "cuda").any():
        waits = frame["latency"] > DISPATCH_BOUND * timing(run, "device_hot")["latency"]
        frame.loc[waits, "flags"] = (frame.loc[waits, "flags"] + " dispatch_bound").str.strip()
        return doubted(run, frame, regime, timing(run, "device_cold"))
    return doubted(run, frame, regime)


def waivers(run: Run) -> dict[tuple[str, str, str], str]:
    """``waived: CHECK, CHECK`` by layer, strategy and device, where a refusal was set aside."""
    checks: dict[tuple[str, str, str], list[str]] = {}
    for r in run.of("waived"):
        checks.setdefault((r["layer"], r["strategy"], r["device"]), []).append(r["check"])
    return {key: f"{WAIVED}: {', '.join(dict.fromkeys(found))}" for key, found in checks.items()}


def undecided(run: Run) -> list[tuple[Group, str]]:
    """Passes of groups in which some comparison is inconclusive though its launches give an interval.

    In the place of a derived pass stand the two that it is derived from.
    """
    found = timing(run)
    rows = rows_of(found[(found["verdict"] == "inconclusive") & (found["launches"] >= FEWEST_LAUNCHES)])
    return list(
        dict.fromkeys(
            (Group(r.layer, r.dims, r.dtype, r.device, r.threads), passed)
            for r in rows
            for passed in (("forward", "forward_backward") if DERIVED in r.flags.split() else (r.passed,))
        )
    )


_TIMING = [
    "status", "reason", "latency", "ratio", "ratio_low", "ratio_high", "verdict", "launches", "rounds", "margin",
    "noise", "flags",
]  # fmt: skip


def _strategies(run: Run) -> dict[str, list[str]]:
    """Names by layer, those that were wanted, in order of simplicity."""
    header = run.of("run")[0]
    chosen = {*header["wanted"]["strategies"], *header["baselines"].values()}
    facts = sorted(run.of("strategy"), key=lambda r: (r["simplicity"], r["strategy"]))
    names: dict[str, list[str]] = {}
    for r in facts:
        if r["strategy"] in chosen:
            names.setdefault(r["layer"], []).append(r["strategy"])
    return names


def _same_bits(own: Launches) -> bool:
    """Whether output and gradients were the same, bit for bit, in all launches."""
    return len({sample.digest for sample in own.values()}) <= 1


def _group_rows(
    statuses: dict[tuple[str, str], list[Record]],
    key: tuple[Any, ...],
    passed: str,
    arms: dict[tuple[str, bool], Launches],
    names: list[str],
    baseline: str,
    looks: int,
    pressure: float,
    lost: dict[str, str],
) -> list[list[Any]]:
    device = key[3]
    base = arms.get((baseline, False), {})
    noise = _compare(arms.get((baseline, True), {}), base, 1, 1)
    pressed = ["pressure"] if pressure > NOISY_SHARE else []
    band = margin(device, noise)
    comparisons = sum(1 for strategy, again in arms if not again and strategy != baseline)
    rows = []
    for name in names:
        own = arms.get((name, False), {})
        status, reason = _status(statuses.get((key[0], name), []), key, passed, bool(own) or name in lost)
        if status == "ok" and name in lost:
            status, reason = "skipped", lost[name]
        row: list[Any] = [*key, passed, name, status, reason]
        if status != "ok":
            rows.append([*row, *[math.nan] * 4, "", 0, 0, math.nan, math.nan, ""])
            continue
        latency = float(np.median(np.concatenate([s.seconds for s in own.values()])))
        rounds = sum(len(s.seconds) for s in own.values())
        flags = " ".join([*_in_most(own), *pressed, *([] if _same_bits(own) else ["bits_differ_between_launches"])])
        found = _compare(own, base, comparisons, looks) if name != baseline else None
        if name == baseline:
            ratios, word = [1.0, math.nan, math.nan], "baseline"
        elif found is None:
            ratios, word = [math.nan] * 3, "no baseline"
        else:
            ratios = [math.exp(x) for x in (found.theta, found.low, found.high)]
            word = verdict(found, band)
        shown = math.nan if noise is None else math.exp(noise.theta)
        rows.append([*row, latency, *ratios, word, len(own), rounds, math.expm1(band), shown, flags])
    return rows


def _in_most(own: Launches) -> list[str]:
    """Flags that at least half of the launches carry."""
    counts = Counter(flag for sample in own.values() for flag in sample.flags)
    return sorted(flag for flag, n in counts.items() if 2 * n >= len(own))


def _compare(own: Launches, base: Launches, comparisons: int, looks: int) -> Interval | None:
    found = differences(own, base)
    return interval(list(found.values()), comparisons, looks) if found else None


def _statuses(run: Run, names: dict[str, list[str]]) -> dict[tuple[str, str], list[Record]]:
    """Statuses by layer and strategy, in order; those of a whole layer are with each of its strategies."""
    found: dict[tuple[str, str], list[Record]] = {}
    for r in run.of("status"):
        for name in [r["strategy"]] if r["strategy"] else names.get(r["layer"], []):
            found.setdefault((r["layer"], name), []).append(r)
    return found


def _status(statuses: list[Record], key: tuple[Any, ...], passed: str, measured: bool) -> tuple[str, str]:
    """The most telling of a strategy's statuses: what went wrong at a case, then what kept it from being measured."""
    _, dims, dtype, device, threads = key
    mine = [
        r
        for r in statuses
        if r["device"] in (device, "")
        and (not r["dims"] or (r["dims"], r["dtype"], r["threads"]) == (dims, dtype, threads))
        and r["pass"] in (passed, "")
        and r["stage"] not in ("memory", "first_call")
    ]
    if measured:
        mine = [r for r in mine if r["stage"] == "time"]
    if mine:
        return mine[-1]["status"], mine[-1]["reason"]
    return ("ok", "") if measured else ("skipped", NOT_MEASURED)


def _frame(run: Run, kind: str) -> pd.DataFrame:
    """Records of a kind, strategies in order of simplicity whatever the order in which they came."""
    place = {(layer, name): (layer, i) for layer, names in _strategies(run).items() for i, name in enumerate(names)}
    records = sorted(run.of(kind), key=lambda r: place.get((r["layer"], r["strategy"]), (r["layer"], 99)))
    return pd.DataFrame(records).drop(columns=["kind", "cell", "attempt"], errors="ignore")


def checks(run: Run) -> pd.DataFrame:
    """One row for each check: case, tensor, error, bound, the reference's own error, result."""
    return _frame(run, "check")


def correctness(run: Run) -> pd.DataFrame:
    """The worst (error ÷ bound) of each strategy × dtype × tensor, beside the reference's own."""
    frame = checks(run)
    if frame.empty:
        return pd.DataFrame(
            columns=["layer", "strategy", "device", "dtype", "tensor", "worst", "reference", "checks", "result"]
        )
    values = frame[(frame["check"] == "values") & frame["result"].isin(["ok", "wrong"])].copy()
    for column in ("error", "bound", "reference_error"):
        values[column] = values[column].astype(float)
    bound = values["bound"].where(values["bound"] > 0)
    values["worst"] = (values["error"] / bound).fillna(0.0)
    values["reference"] = (values["reference_error"] / bound).fillna(0.0)
    values["wrong"] = values["result"] == "wrong"
    by = values.groupby(["layer", "strategy", "device", "dtype", "tensor"], sort=False)
    found = by.agg(
        worst=("worst", "max"),
        reference=("reference", "max"),
        checks=("worst", "size"),
        wrong=("wrong", "any"),
    )
    found["result"] = found.pop("wrong").map({True: "wrong", False: "ok"})
    return found.reset_index()


def gate(run: Run) -> pd.DataFrame:
    """One row for each strategy × device: checks, worst error ÷ bound, training, result and reason."""
    header = run.of("run")[0]
    found = correctness(run)
    rows: list[list[Any]] = [
        [r["layer"], LAYER_ITSELF, "", 0, math.nan, math.nan, r["status"], r["reason"]]
        for r in run.of("status")
        if r["stage"] == "import" and not r["strategy"]
    ]
    for layer, names in _strategies(run).items():
        for name in names if layer in header["wanted"]["layers"] else []:
            for device in header["devices"]:
                rows.append([layer, name, device, *_gate_row(run, found, layer, name, device)])
    columns = ["layer", "strategy", "device", "checks", "worst", "final_loss", "result", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _gate_row(run: Run, found: pd.DataFrame, layer: str, name: str, device: str) -> list[Any]:
    def mine(kind: str) -> list[Record]:
        return [r for r in run.of(kind) if (r["layer"], r["strategy"], r["device"]) == (layer, name, device)]

    own = found[(found["layer"] == layer) & (found["strategy"] == name) & (found["device"] == device)]
    worst = float(own["worst"].max()) if len(own) else math.nan
    trained = mine("training")
    statuses = [r for r in mine("status") if not r["dims"] and r["stage"] in ("plan", "gate")]
    scope = run.of("run")[0]["wanted"].get("scope", {})
    partial = any(scope.get(k) for k in ("checks", "dtypes", "dims"))
    last = trained or [c for c in mine("check") if c["check"] == "training"]  # what has no task is done as well
    result = statuses[0]["status"] if statuses else "ok" if last or (partial and mine("check")) else "not_run"
    waived = mine("waived")
    if waived and result == "ok":
        return [len(mine("check")), worst, _loss(trained), WAIVED, "; ".join(r["reason"] for r in waived)]
    unseen = [f"{c['check']} not run: {c['detail']}" for c in mine("check") if c["check"] == "races"]
    reason = statuses[0]["reason"] if statuses else "; ".join(unseen)
    return [len(mine("check")), worst, _loss(trained), result, reason]


def _loss(trained: list[Record]) -> float:
    loss = trained[0]["final_loss"] if trained else None
    return math.nan if loss is None else float(loss)


def training(run: Run) -> pd.DataFrame:
    """One row a strategy: steps, losses (a list), final loss, target and naive loss, error, bound, result."""
    frame = _frame(run, "training")
    if frame.empty:
        return frame
    for column in ("final_loss", "error", "bound"):
        frame[column] = frame[column].astype(float)
    facts = pd.DataFrame(run.of("layer"))[["layer", "task_title", "task_naive", "naive_loss", "target_loss"]]
    return frame.merge(facts, on="layer", how="left")


def memory(run: Run) -> pd.DataFrame:
    """One row for each group × strategy, in bytes above parameters and inputs; ``reason`` says why where none is."""
    frame = _frame(run, "memory")
    failed = [r for r in run.of("status") if r["stage"] == "memory" and r["dims"]]
    of_a_step = [name for name in STEP_PEAKS if name in frame] or ["step_peak"]
    columns = [
        *GROUP, "strategy", "saved", "forward_peak", "backward_peak", "least", *of_a_step, "left", "reserved", "reason",
    ]  # fmt: skip
    measured = [{**row, "reason": ""} for row in frame.to_dict("records")]
    return pd.DataFrame(
        [*measured, *({k: r[k] for k in (*GROUP, "strategy", "reason")} for r in failed)], columns=columns
    )


def proofs(run: Run) -> pd.DataFrame:
    """One row for each figure of what the meter has proved of itself."""
    columns = ["proof", "what", "figure", "low", "high", "unit", "result", "detail"]
    return pd.DataFrame(run.of("proof"), columns=columns)


def first_calls(run: Run) -> pd.DataFrame:
    """One row for each group × strategy: seconds of the first call, cold, and cached (median over launches)."""
    frame = _frame(run, "first_call")
    if frame.empty:
        return pd.DataFrame(columns=[*GROUP, "strategy", "cold", "cached"])
    frame["cold"] = frame["cold"].map({True: "cold", False: "cached"})
    wide = frame.pivot_table(index=[*GROUP, "strategy"], columns="cold", values="seconds", aggfunc="median", sort=False)
    return wide.reindex(columns=["cold", "cached"]).reset_index()


def styles(run: Run) -> dict[str, dict[str, str | None]]:
    """Colour, marker and dash as strategies state them, and what each is a variant of, by name."""
    return {r["strategy"]: {k: r.get(k) for k in ("color", "marker", "dash", "variant_of")} for r in run.of("strategy")}
