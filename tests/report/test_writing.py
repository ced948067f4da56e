"""A table as three files: LaTeX that compiles whatever is in a cell, Markdown that keeps its columns."""

from pathlib import Path

import pandas as pd

from harness.report.writing import LONG, latex, write


def test_what_latex_would_choke_on_is_escaped() -> None:
    shown = pd.DataFrame({"a_b": ["50 % of $x & #1_{2}~^\\"], "speed-up": ["1.78× (1.75–1.81), ±2 µs ✓"]})
    text = latex(shown)
    assert text.startswith("% \\usepackage{booktabs,amssymb,textcomp}\n\\begin{tabular}{ll}\n\\toprule\n")
    assert r"a\_b & speed-up \\" in text
    assert r"50 \% of \$x \& \#1\_\{2\}\textasciitilde \textasciicircum \textbackslash" in text
    assert r"1.78$\times$ (1.75--1.81), $\pm$2 \textmu{} s \checkmark{}".replace("{} s", "{}s") in text
    assert text.isascii()


def test_a_long_table_breaks_across_pages() -> None:
    assert r"\begin{longtable}" in latex(pd.DataFrame({"n": range(LONG + 1)}))
    assert r"\begin{tabular}" in latex(pd.DataFrame({"n": range(LONG)}))


def test_three_files_from_one_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1 / 3]})
    paths = write(tmp_path / "t.1", frame, pd.DataFrame({"x": ["0.33 | a\nb"]}))
    assert [p.name for p in paths] == ["t.1.csv", "t.1.md", "t.1.tex"]
    assert float(paths[0].read_text().splitlines()[1]) == 1 / 3
    assert "0.33 \\| a b" in paths[1].read_text()
    assert "0.33 | a b" in paths[2].read_text()
