"""Several runs: what they share is told from what they do not, and nothing is averaged."""

from pathlib import Path
from typing import Any

import pytest

from harness.analyse.findings import Findings, findings
from harness.analyse.side_by_side import agreement, side_by_side
from harness.records.store import read
from tests.analyse.recorded import SIZES, records, write

ONE, OTHER = SIZES[0], SIZES[1]


def _run(folder: Path, times: dict[str, dict[str, float]], cuda: bool = False, **header: object) -> Findings:
    items = records(times, cuda=cuda, passes=("forward_backward",))
    items[0] |= header
    return findings(read(write(folder, items)))


def test_verdicts_that_hold_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    runs = [
        _run(tmp_path / "a", {ONE: {"plain": 2e-4, "shelf": 1e-4, "made": 1e-4, "hand": 1e-4}, OTHER: {"plain": 1e-3}}),
        _run(tmp_path / "b", {ONE: {"plain": 4e-6, "shelf": 1e-6, "made": 8e-6}}, cuda=True),
    ]
    found = side_by_side(runs, ["a", "b"])
    assert dict(found.cases.drop_duplicates(["dims", "strategy"]).set_index(["dims", "strategy"])["on_all"]) == {
        (ONE, "shelf"): "faster", (ONE, "made"): "differs", (ONE, "hand"): "one run only",
        **{(OTHER, name): "not measured" for name in ("shelf", "made", "hand")},
    }  # fmt: skip
    ratios = found.cases[found.cases["strategy"] == "shelf"].set_index(["run", "dims"])["ratio"]
    assert ratios["A", ONE] == pytest.approx(0.5, rel=0.02)
    assert ratios["B", ONE] == pytest.approx(0.25, rel=0.02)
    picks = found.picks[found.picks["dims"] == ONE].set_index("run")
    assert picks.loc["B", "pick"] == "shelf"


@pytest.mark.parametrize("header", [{"baselines": {"one": "made"}}, {"digests": {"one/plain": "changed"}}])
def test_verdicts_over_other_code_are_not_held_against_each_other(tmp_path: Path, header: dict[str, Any]) -> None:
    times = {ONE: {"plain": 2e-4, "made": 1e-4, "hand": 1e-5}}
    found = side_by_side([_run(tmp_path / "a", times), _run(tmp_path / "b", times, **header)], ["a", "b"])
    words = found.cases.drop_duplicates("strategy").set_index("strategy")["on_all"]
    assert words["hand"] == "other baselines"
    assert set(found.picks["on_all"]) == {"hand"}


@pytest.mark.parametrize(
    ("said", "count", "word"),
    [
        ((("A", "tie"), ("B", "tie")), 2, "tie"),
        ((("A", "tie"), ("B", "tie")), 3, "tie where measured"),
        ((("A", "tie"), ("B", "tie"), ("B", "")), 2, "tie where measured"),
        ((("A", "slower"), ("A", "slower")), 2, "one run only"),
        ((("A", "slower"), ("B", "faster"), ("B", "inconclusive")), 2, "differs"),
        ((("A", "slower"), ("B", "inconclusive")), 2, "not settled"),
        ((("A", "no baseline"), ("B", "inconclusive")), 2, "not settled"),
        ((("A", ""), ("B", "")), 2, "not measured"),
    ],
)
def test_a_word_holds_only_where_all_runs_say_it(said: tuple[tuple[str, str], ...], count: int, word: str) -> None:
    assert agreement(*zip(*said, strict=True), count) == word


def test_what_else_differs_is_said(tmp_path: Path) -> None:
    times = {ONE: {"plain": 2e-4, "hand": 1e-4}}
    one = _run(tmp_path / "a", times, digests={"one/hand": "x", "one/plain": "y"}, stack={"torch": "2.13"})
    other = _run(
        tmp_path / "b",
        times,
        digests={"one/hand": "z", "one/plain": "y"},
        stack={"torch": "2.12"},
        baselines={"one": "hand"},
    )
    assert side_by_side([one, other], ["a", "b"]).notes == (
        "A and B differ in source: one/hand",
        "A and B differ in software: torch",
        "A and B have other baselines of one, so their ratios mean different things: plain and hand",
    )
