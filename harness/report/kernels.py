"""The table of kernels that were compiled ahead of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analyse.frames import rows_of
from harness.records.store import Record

COLUMNS = (
    "layer", "strategy", "kernel", "signature", "target", "options", "registers", "shared", "shared_limit", "stack",
    "spills", "tensor_cores", "float32_dots", "tf32", "result", "detail", "triton",
)  # fmt: skip


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each kernel × signature × target, with texts and numbers only."""
    rows = [
        {
            **{column: record[column] for column in COLUMNS},
            "options": _pairs(record["options"]),
            "tensor_cores": _pairs(record["tensor_cores"]),
            "float32_dots": " ".join(record["float32_dots"]),
        }
        for record in records
    ]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ["registers", "shared", "shared_limit", "stack", "spills"]
    return found.astype(dict.fromkeys(whole, "Int64"))


def _pairs(numbers: dict[str, int]) -> str:
    return " ".join(f"{name}={number}" for name, number in numbers.items())


def table(found: pd.DataFrame) -> pd.DataFrame:
    """For people; ``found`` is ``frame``."""
    rows = [
        {
            "layer": row.layer,
            "kernel": row.kernel,
            "signature": row.signature,
            "target": row.target,
            "warps": row.options.removeprefix("num_warps="),
            "registers": _text(row.registers),
            "shared (B)": _text(row.shared),
            "of": _text(row.shared_limit),
            "stack (B)": _text(row.stack)
            + (f", {row.spills} registers" if not _none(row.spills) and row.spills else ""),
            "tensor cores": row.tensor_cores.replace("=", " × ") or "–",
            "fp32 dots": _precision(row.float32_dots, row.tf32),
            "result": row.result.replace("_", " ") + (f": {row.detail}" if row.detail else ""),
        }
        for row in rows_of(found)
    ]
    return pd.DataFrame(rows)


def _none(value: Any) -> bool:
    return bool(pd.isna(value))


def _text(value: Any) -> str:
    return "–" if _none(value) else str(value)


def _precision(asked: str, tf32: int) -> str:
    """What was asked for, and what the code does where that differs."""
    if not asked:
        return "–"
    return f"{asked} asked, TF32 × {tf32}" if tf32 else asked.replace("tf32", "tf32 asked")


def summary(found: pd.DataFrame) -> list[str]:
    """A line for each target, and one for each thing that is not as it should be."""
    lines = []
    for target, rows in found.groupby("target", sort=False):
        counts = rows["result"].value_counts(sort=False)
        words = ", ".join(f"{n} {str(result).replace('_', ' ')}" for result, n in counts.items())
        with_cores = int((rows["tensor_cores"] != "").sum())
        spilled = int((rows["stack"].fillna(0) > 0).sum())
        lines.append(f"{target}: {words}; {with_cores} on tensor cores, {spilled} with a stack")
    for row in rows_of(found[(found["detail"] != "")]):
        lines.append(f"{row.layer}/{row.strategy} {row.kernel} ({row.signature}) for {row.target}: {row.detail}")
    return lines


def write(path: Path, found: pd.DataFrame) -> None:
    """Write the table: CSV with every column, or a page of Markdown, by the file's ending.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix == ".csv":
        found.to_csv(path, index=False, lineterminator="\n")
        return
    versions = ", ".join(sorted({v for v in found["triton"] if v}))
    text = table(found).map(lambda cell: str(cell).replace("|", "\\|").replace("\n", " "))
    page = [
        "# Kernels, compiled ahead of time",
        "",
        f"Every Triton kernel in every declared signature, by Triton {versions}, without a GPU (`layerbench aot`).",
        "Registers and stack are for each thread, shared memory for each program. On NVIDIA a stack is a spill and",
        "fails; on gfx942 spills are shown. Tensor cores: instructions in the PTX (mma, wgmma, tcgen05) or in AMD's",
        "assembly (mfma).",
        "",
        text.to_markdown(index=False, disable_numparse=True),
        "",
        *(f"* {line}" for line in summary(found)),
    ]
    path.write_text("\n".join(page) + "\n", encoding="utf-8")
