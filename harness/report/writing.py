"""A table as three files from the same frame: CSV with every digit, Markdown and LaTeX as they are shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.escaping import spreadsheet

LONG = 40
"""A LaTeX table of more rows than these may break across pages."""

SIGNS = {
    "×": r"$\times$", "±": r"$\pm$", "÷": r"$\div$", "µ": r"\textmu{}", "–": "--", "·": r"$\cdot$", "≈": r"$\approx$",
    "−": "$-$", "✓": r"\checkmark{}", "✗": r"$\times$", "ᵘ": r"$^{\mathrm{u}}$", "σ": r"$\sigma$", "…": r"\dots{}",
    "Σ": r"$\Sigma$", "→": r"$\to$", "²": r"$^2$", "³": r"$^3$", "∞": r"$\infty$", "≤": r"$\leq$", "≥": r"$\geq$",
    "√": r"$\surd$", "α": r"$\alpha$", "β": r"$\beta$", "ε": r"$\varepsilon$", "Δ": r"$\Delta$", "¹": r"$^1$",
    "ʷ": r"$^{\mathrm{w}}$",
}  # fmt: skip
"""Signs that LaTeX knows by another name; letters with accents it takes as they are."""

_UNKNOWN = re.compile(r"[^\x00-\u017f]")
"""What LaTeX stops at, unless it has a name: it is shown by its number."""


def write(stem: Path, frame: pd.DataFrame, shown: pd.DataFrame, note: str = "") -> list[Path]:
    """Write ``frame`` as CSV, ``shown`` as Markdown and as LaTeX, with a note below in Markdown; returns the paths."""
    csv, markdown, tex = (stem.with_name(stem.name + end) for end in (".csv", ".md", ".tex"))
    frame.map(spreadsheet).to_csv(csv, index=False, lineterminator="\n")
    text = shown.map(_cell).to_markdown(index=False, disable_numparse=True)
    markdown.write_text(text + (f"\n\n{note}" if note else "") + "\n", encoding="utf-8")
    tex.write_text(latex(shown), encoding="utf-8")
    return [csv, markdown, tex]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def latex(shown: pd.DataFrame) -> str:
    """A booktabs table, ready for ``\\input``; its first line names the packages that it needs."""
    long = len(shown) > LONG
    plain = shown.map(lambda value: str(value).replace("\n", " "))
    text = plain.to_latex(index=False, escape=True, longtable=long, column_format="l" * len(shown.columns))
    for sign, name in SIGNS.items():
        text = text.replace(sign, name)
    text = _UNKNOWN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
    packages = ["booktabs", *(["longtable"] if long else []), *(["amssymb"] if "checkmark" in text else []),
                *(["textcomp"] if "textmu" in text else [])]  # fmt: skip
    return f"% \\usepackage{{{','.join(packages)}}}\n{text}"
