"""A table as three files: LaTeX that compiles whatever is in a cell, Markdown that keeps its columns."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from harness.report.writing import LONG, latex, write
from tests.conftest import ROOT


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


def _rows(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.endswith(r"\\")]


def _check_structure(text: str) -> None:
    """What TeX would choke on, without TeX."""
    opened: list[str] = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    found = re.search(r"\\begin\{(?:tabular|longtable)\}\{(l+)\}", text)
    assert found
    plain = [row for row in _rows(text) if "multicolumn" not in row]
    assert plain
    for row in plain:
        assert len(re.findall(r"(?<!\\)&", row)) == len(found[1]) - 1, row
        assert not re.search(r"(?<!\\)[#%_]", row), row
        assert row.count("$") % 2 == row.count(r"\$") % 2, row
        assert not re.search(r"[~^]", re.sub(r"\$\^[^$]*\$", "", row)), row
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in text


ODD = pd.DataFrame({"a & b": ["x & y % # _ { } ~ ^ $ \\ end", "1\n2"] * LONG, "µ": ["²", "√(x²) – α ⁻¹ 漢字"] * LONG})
TABLES = sorted((ROOT / "results").rglob("tables/*.tex"))


@pytest.mark.parametrize("path", TABLES, ids=lambda p: f"{p.parent.parent.name}/{p.stem}")
def test_a_committed_table_is_sound_latex(path: Path) -> None:
    _check_structure(path.read_text(encoding="utf-8"))


def test_odd_cells_are_sound_latex_and_unsound_ones_are_found() -> None:
    _check_structure(latex(ODD))
    sound = latex(ODD.head(2))
    for broken in (sound.replace(r"\&", "&"), sound.replace(r"\end{tabular}", ""), sound.replace(r"\_", "_")):
        with pytest.raises(AssertionError):
            _check_structure(broken)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_all_tables_of_a_run_compile(tmp_path: Path) -> None:
    own = [path for path in TABLES if path.parent.parent.name.endswith("-quick")]
    (tmp_path / "odd.tex").write_text(latex(ODD))
    inputs = "\n".join(rf"\input{{{path}}}\par" for path in [*own, tmp_path / "odd.tex"])
    packages = r"\usepackage{booktabs,longtable,amssymb,textcomp}"
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}" + f"\n{inputs}\n" + r"\end{document}" + "\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert b"Missing character" not in (tmp_path / "all.log").read_bytes()
