"""The page of several runs: whole, each run apart, no time of two in one table."""

import re
from pathlib import Path

import pytest

from tests.analyse.recorded import SIZES, records, write
from tests.conftest import Cli
from tests.report.test_page import Reader

TIMES = {SIZES[0]: {"plain": 2e-4, "hand": 1e-4}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    top = tmp_path_factory.mktemp("runs")
    own = [records(TIMES), records(TIMES, cuda=True), records(TIMES, launches=2)]
    for number, items in enumerate(own):
        items[1]["cpu"] = f"<b>CPU {number}</b>"
    return [write(top / name, items) for name, items in zip(("here", "there", "few"), own, strict=True)]


def test_one_page_holds_all_runs_apart(cli: Cli, folders: list[Path], tmp_path: Path) -> None:
    done = cli("report", *folders, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    text = (tmp_path / "out" / "report.html").read_text()
    found = Reader(text)
    for tag, link in found.links:
        assert tag != "a" or (link[1:] in found.ids if link[0] == "#" else (tmp_path / "out" / link).exists()), link
    assert not re.search(r"https?://", text)
    assert [text.count(f'<h2 id="run-{letter}">') for letter in "ABC"] == [1, 1, 1]
    assert "&lt;b&gt;CPU 1&lt;/b&gt;" in text
    assert "<b>CPU" not in text
    shared, *apart = text.split('<h2 id="run-')
    assert "time (µs)" not in shared  # times stand in the runs' own parts only
    assert all(part.count("time (µs)") == 1 for part in apart)
    assert "one: 0 of 6 verdicts hold in all runs; the others: 4 not measured, 2 not settled" in shared
    table = (tmp_path / "out" / "tables" / "ratios-one.md").read_text()
    assert "A: cpu" in table
    assert "B: cuda" in table
    again = cli("report", *folders, "--out", tmp_path / "again")
    assert again.returncode == 0
    assert (tmp_path / "again" / "report.html").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("here", "there"), "several runs need --out FOLDER"),
        (("here", "--out", "x"), "--out is for several runs"),
        (("here", "there", "--out", "few"), "holds a run: choose another folder"),
        (("here", "there", "--pdf", "--out", "x"), "--pdf is for the plots of one run"),
        (("here", "no_such", "--out", "x"), "holds no records.jsonl"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, folders: list[Path], arguments: tuple[str, ...], message: str) -> None:
    done = cli("report", *(a if a.startswith("--") else folders[0].parent / a for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
