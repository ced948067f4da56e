"""Tables for people (Markdown) and for programs (CSV), from the same frames; one unit a table.

Markdown is for reading: numbers are rounded to what their interval supports. CSV keeps every digit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analyse import frames
from harness.analyse import gate as gates
from harness.analyse.findings import Findings, findings
from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.records.advice import of_check
from harness.records.store import Run
from harness.report import decision_tables as decided
from harness.report import meter, waived
from harness.report.numbers import number, speed_up
from harness.report.writing import write


def write_all(run: Run, folder: Path, found: Findings | None = None) -> list[Path]:
    """Write every table of a run as Markdown, CSV and LaTeX; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = found or findings(run)
    have, noisy, picks = found.have, found.noise, decided.answered_first(found.winners)
    written = []
    for layer, rows in have.timing.groupby("layer", sort=False):
        written += write(folder / f"timing-{layer}", rows.drop(columns="order"), main(rows))
    for name, frame, shown in (
        ("decision", picks, decided.decision(picks)),
        ("break_even", found.break_evens, decided.break_even(found.break_evens)),
        ("noise", noisy, decided.noise(noisy)),
        ("gate", have.gate, gate(have.gate)),
        ("matrix", found.matrix, matrix(found.matrix)),
        ("determinism", found.determinism, determinism(found.determinism)),
        ("controls", found.controls, found.controls),
        ("correctness", found.correctness, correctness(found.correctness)),
        ("training", _without_curves(found.training), training(found.training)),
        ("memory", have.memory, memory(have.memory)),
        ("first_call", have.first, first_call(have.first)),
        ("roofs", found.roofs, meter.roofs(found.roofs)),
        ("regimes", found.regimes, meter.regimes(found.regimes)),
        ("meter", found.proofs, meter.proofs(found.proofs)),
        ("spending", found.spending, meter.spending(found.spending)),
        ("environment", environment(run), environment(run)),
    ):
        if not shown.empty:
            note = LEGEND if name == "matrix" else ""
            written += write(folder / name, waived.with_column(run, frame), waived.marked(run, shown), note)
    return written


def _without_curves(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["losses", "oracle_losses"], errors="ignore")


def threads_and_dims(row: Any) -> str:
    """The size of a row, with the number of threads where there are several."""
    return f"{row.dims}" + (f" · {row.threads} threads" if row.device == "cpu" and row.threads > 1 else "")


def main(timing: pd.DataFrame) -> pd.DataFrame:
    """The main table of a layer: one row a case, verdict in words, status of what was not measured."""
    rows = []
    for row in frames.rows_of(timing):
        ok = row.status == "ok"
        rows.append(
            {
                "size": threads_and_dims(row),
                "dtype": row.dtype,
                "device": row.device,
                "pass": row.passed,
                "strategy": row.strategy,
                "time (µs)": f"{row.latency * 1e6:.4g}" if ok else "–",
                "speed-up": speed_up(row.ratio, row.ratio_low, row.ratio_high) if ok else "–",
                "verdict": _verdict(row),
                "tie band": f"±{100 * row.margin:.1f} %" if ok else "–",
                "n": row.launches if ok else "–",
                "notes": row.flags.replace("_", " ") if ok else row.reason,
            }
        )
    return pd.DataFrame(rows)


def _verdict(row: Any) -> str:
    if row.status != "ok":
        return str(row.status).replace("_", " ")
    if row.verdict == "inconclusive" and row.launches < FEWEST_LAUNCHES:
        return f"inconclusive: {row.launches} of {FEWEST_LAUNCHES} launches"
    return str(row.verdict)


def gate(frame: pd.DataFrame) -> pd.DataFrame:
    """What passed the gate, and what did not and why."""
    return pd.DataFrame(
        {
            "layer": frame["layer"],
            "strategy": frame["strategy"],
            "device": frame["device"],
            "result": frame["result"].str.replace("_", " "),
            "checks": frame["checks"],
            "worst error ÷ bound": frame["worst"].map(number),
            "loss after training": frame["final_loss"].map(number),
            "reason": frame["reason"],
        }
    )


MARKS = {
    "ok": "✓", "limited": "–", "wasteful": "✓ʷ", "ill_conditioned": "?", "not_applicable": "·", "not_run": "?",
    "upstream": "✗ᵘ",
}  # fmt: skip

LEGEND = (
    "✓ right · ✓ʷ right, and wasteful · – not offered: a clean error, or declared so · ✗ a silent wrong answer, error ÷"
    " bound (ᵘ: a defect of PyTorch) · ? not judged here · · does not apply · empty: not asked"
)
"""Every mark of the matrix."""


def matrix(frame: pd.DataFrame) -> pd.DataFrame:
    """Marks for what a strategy can be combined with; see ``LEGEND``."""
    if frame.empty:
        return frame
    shown = frame.assign(mark=[_mark(row) for row in frames.rows_of(frame)])
    wide = shown.pivot_table(index=gates.CASE, columns="check", values="mark", aggfunc="first", sort=False)
    present = [check for check in gates.MATRIX if check in wide.columns]
    return wide[present].fillna("").rename(columns=gates.MATRIX).reset_index().rename_axis(columns=None)


def _mark(row: Any) -> str:
    mark = MARKS.get(row.result)
    return mark if mark is not None else "✗" if math.isnan(row.worst) else f"✗ {row.worst:.3g}"


def notes(frame: pd.DataFrame) -> list[str]:
    """The text behind each mark of the matrix but ✓ and ·, once for each text."""
    said = frame[~frame["result"].isin(["ok", "not_applicable"])]
    lines = []
    for (result, detail), same in said.groupby(["result", "detail"], sort=False):
        where = ", ".join(f"{r.layer}/{r.strategy} {gates.MATRIX[r.check]}" for r in frames.rows_of(same))
        lines.append(f"{MARKS.get(str(result), '✗')} {where}: {detail}")
    return lines


def changed_by_imports(frame: pd.DataFrame) -> list[str]:
    """Lines on what imports of strategies change that the harness itself does not use: shown, not held against them."""
    return [f"~ {row.layer}/{row.strategy} global_state: {row.detail}" for row in frames.rows_of(frame)]


def unjudged(cases: pd.DataFrame) -> list[str]:
    """Each case that says nothing for or against a strategy, in a line."""
    return [
        f"? {r.layer}/{r.strategy} {r.check}: {', '.join(filter(None, (r.tensor, r.setting, r.dtype, r.dims)))}:"
        f" {str(r.result).replace('_', ' ')} ({str(r.detail).removeprefix('ill-conditioned: ')})"
        for r in frames.rows_of(cases)
    ]


def wrong(failures: pd.DataFrame) -> list[str]:
    """Each wrong answer in a line, and below it the command that asks for just that again.

    What to do next is said once for each check of a strategy.
    """
    lines: list[str] = []
    told: set[tuple[str, str, str]] = set()
    for row in frames.rows_of(failures):
        numbers = f": error {float(row.error):.3g}, bound {float(row.bound):.3g}" if not pd.isna(row.error) else ""
        where = ", ".join(filter(None, (row.tensor, row.setting, row.dtype, row.dims, f"seed {row.seed}")))
        detail = f" ({row.detail})" if row.detail else ""
        step = (
            of_check(row.check, row.tensor, row.detail)
            if (key := (row.layer, row.strategy, row.check)) not in told
            else ""
        )
        told.add(key)
        following = f"\n    next: {step}" if step else ""
        lines.append(f"✗ {row.layer}/{row.strategy} {row.check}: {where}{numbers}{detail}{following}\n    {row.again}")
    return lines


def determinism(frame: pd.DataFrame) -> pd.DataFrame:
    """How far each output and gradient repeats."""
    return frame.fillna("–").rename(
        columns={"repeats": "ten times in a process", "fresh_process": "in a fresh process"}
    )


def correctness(frame: pd.DataFrame) -> pd.DataFrame:
    """Error against the float64 oracle as a share of its bound, beside the reference's own."""
    return pd.DataFrame(
        {
            "layer": frame["layer"],
            "strategy": frame["strategy"],
            "device": frame["device"],
            "dtype": frame["dtype"],
            "tensor": frame["tensor"],
            "error ÷ bound": frame["worst"].map(number),
            "reference's error ÷ bound": frame["reference"].map(number),
            "sizes": frame["checks"],
            "result": frame["result"],
        }
    )


def training(frame: pd.DataFrame) -> pd.DataFrame:
    """Training on the layer's data: final loss, target, naive forecast, distance from the oracle's curve."""
    if frame.empty:
        return frame
    return pd.DataFrame(
        {
            "layer": frame["layer"],
            "strategy": frame["strategy"],
            "dtype": frame["dtype"],
            "steps": frame["steps"],
            "starts": frame["starts"],
            "final loss (worst start)": frame["final_loss"].map(number),
            "target": frame["target_loss"].map(number),
            "naive": frame["naive_loss"].map(number),
            "curve error ÷ bound": (frame["error"] / frame["bound"]).map(number),
            "like the reference": frame.get("verdict", ""),
            "result": frame["result"],
        }
    )


def memory(frame: pd.DataFrame) -> pd.DataFrame:
    """Bytes above parameters and inputs, in KiB."""
    if frame.empty:
        return frame
    shown = pd.DataFrame(
        {
            "layer": frame["layer"],
            "size": frame["dims"],
            "dtype": frame["dtype"],
            "strategy": frame["strategy"],
        }
    )
    for column, title in (
        ("saved", "saved for backward (KiB)"),
        ("forward_peak", "peak of forward"),
        ("backward_peak", "peak of backward"),
        ("least", "output and gradients alone"),
        *((name, title) for name, title in frames.STEP_PEAKS.items() if name in frame),
        ("left", "left after"),
    ):
        shown[title] = (frame[column].astype(float) / 1024).map(lambda kib: "–" if math.isnan(kib) else f"{kib:.6g}")
    return shown.assign(notes=frame["reason"])


def first_call(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds of the first forward and backward, compilation included."""
    if frame.empty:
        return frame
    return pd.DataFrame(
        {
            "layer": frame["layer"],
            "size": [threads_and_dims(row) for row in frames.rows_of(frame)],
            "dtype": frame["dtype"],
            "strategy": frame["strategy"],
            "cold (s)": frame["cold"].map(lambda s: "–" if math.isnan(s) else f"{s:.2f}"),
            "caches filled (s)": frame["cached"].map(lambda s: "–" if math.isnan(s) else f"{s:.3f}"),
        }
    )


def environment(run: Run) -> pd.DataFrame:
    """Facts about the machine and the software; those that are not known say why."""
    facts = dict(run.of("environment")[0]) if run.of("environment") else {}
    unknown = facts.pop("unknown", {})
    for key in ("kind", "cell", "attempt"):
        facts.pop(key, None)
    packages = facts.pop("packages", {}) or {}
    facts |= {f"package {name}": packages[name] for name in packages if name.lower() in _PACKAGES}
    rows = [[name, f"unknown ({unknown.get(name, 'no reason')})" if v is None else v] for name, v in facts.items()]
    return pd.DataFrame(rows, columns=["fact", "value"])


_PACKAGES = {"torch", "triton", "numpy", "scipy", "pandas", "matplotlib", "pytest-benchmark"}
