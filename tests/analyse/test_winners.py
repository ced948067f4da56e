"""The map of picks and the sentence that is made of it; the noise and the break-even beside them."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analyse import costs
from harness.analyse.contending import evidence
from harness.analyse.findings import findings
from harness.analyse.winners import use_when, winners
from harness.records.schema import CaseStatus, Group, as_record
from harness.records.store import read
from harness.report import decision_tables
from tests.analyse.recorded import SIZES, have, records, write


def _cells(picks: dict[tuple[str, str, str], str], unsettled: int = 0) -> pd.DataFrame:
    """Rows by (pass, dtype, dims)."""
    rows = [
        {
            "pass": p,
            "dtype": t,
            "device": "cpu",
            "threads": 1,
            "dims": d,
            "pick": pick,
            "confidence": "clear" if pick else "",
        }
        for (p, t, d), pick in picks.items()
    ]
    for row in rows[:unsettled]:
        row["confidence"] = "unsettled"
    return pd.DataFrame(rows)


GRID = [(p, t, d) for p in ("forward", "step") for t in ("float32", "bfloat16") for d in ("N=1", "N=2", "N=4")]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (lambda p, t, d: "a", "Use a in all 12 cases that were measured."),
        (lambda p, t, d: "b" if t == "bfloat16" and d != "N=4" else "a", "Use a, but b for bfloat16 at N=1 and for bfloat16 at N=2."),
        (lambda p, t, d: "b" if d == "N=4" else "a", "Use a, but b at N=4."),
        (lambda p, t, d: "b" if p == "step" and t == "float32" and d == "N=1" else "a", "Use a, but b for step float32 at N=1."),
        (lambda p, t, d: "b" if d == "N=4" or (p == "step" and d == "N=2") else "a", "Use a, but b at N=4 and for step at N=2."),
        (lambda p, t, d: "" if d == "N=4" else "a", "Use a in all 8 cases that were measured."),
        (lambda p, t, d: "a" if (p, t, d) == GRID[0] else "", "Use a in the one case that was measured."),
        (lambda p, t, d: "", "Nothing was measured."),
    ],
)  # fmt: skip
def test_the_sentence_covers_just_the_cells_of_a_pick(rule: Any, sentence: str) -> None:
    assert use_when(_cells({key: rule(*key) for key in GRID})) == sentence


def test_the_sentence_counts_what_is_not_settled() -> None:
    cells = {key: "a" if key[0] == "step" else "b" for key in GRID}
    assert use_when(_cells(cells, 6)) == "Use a in all 6 cases that are settled. Not settled in 6 of 12 cases."
    assert use_when(_cells(cells, 11)).startswith("Use a for step bfloat16 at N=4, the one case that is settled. ")
    assert use_when(_cells(cells, 12)).startswith("Nothing is settled; ")


def test_the_map_has_every_cell_and_says_why_one_is_empty(tmp_path: Path) -> None:
    times = {SIZES[0]: {"plain": 1e-5, "hand": 2e-5}, SIZES[1]: {"plain": 1e-4, "hand": 1e-4}}
    found = have(tmp_path, times, failed={"made": "wrong"})
    rows = winners(found).set_index(["dims", "pass"])
    assert len(rows) == 4
    first, second = rows.loc[(SIZES[0], "step")], rows.loc[(SIZES[1], "step")]
    assert (first["pick"], first["confidence"], first["runner_up"]) == ("plain", "clear", "hand")
    assert first["ratio_low"] <= 2 <= first["ratio_high"]
    assert (second["pick"], second["confidence"], second["ties"]) == ("plain", "tie", "hand")
    shown = decision_tables.decision(winners(found))
    assert list(shown["use"]) == ["plain"] * 4
    assert set(shown["n"]) == {8}


def test_sizes_with_the_same_options_stand_together(tmp_path: Path) -> None:
    asked = ("N=256,D=256,flag=1", "N=64,D=64,flag=0", "N=16,D=16,flag=1", "N=128,D=128,flag=0")
    rows = winners(have(tmp_path, {dims: {"plain": 1e-5} for dims in asked}, passes=("step",)))
    assert list(rows["dims"]) == [asked[1], asked[3], asked[2], asked[0]]


def test_a_size_of_one_dtype_only_is_an_empty_cell_of_the_others(tmp_path: Path) -> None:
    items = records({SIZES[0]: {"plain": 1e-5}, SIZES[1]: {"plain": 1e-4}})
    items[0]["groups"][0] = {**items[0]["groups"][0], "dtype": "bfloat16"}
    rows = winners(evidence(read(write(tmp_path, items))))
    assert set(rows.set_index(["dtype", "dims"])["reason"][("float32", SIZES[0])]) == {"not planned in this run"}
    assert list(rows["dtype"].unique()) == ["bfloat16", "float32"]
    shown = decision_tables.decision(
        decision_tables.answered_first(rows)
    )  # what has a pick first, and nothing that was not planned
    assert list(zip(shown["dtype"], shown["size"], shown["use"], strict=True)) == [
        *[("float32", SIZES[1], "plain")] * 2,
        *[("bfloat16", SIZES[0], "–")] * 2,
    ]


def test_noise_is_what_was_put_in(tmp_path: Path) -> None:
    found = findings(have(tmp_path, {SIZES[0]: {"plain": 1e-5}}, noise=0.05, launches=40, passes=("step",)).run)
    row = found.noise.iloc[0]
    assert row["between"] == pytest.approx(0.05, rel=0.4)
    assert row["within"] == pytest.approx(0.001 * 0.6745, rel=0.4)
    assert row["ratio_low"] <= 1 <= row["ratio_high"]
    assert row["margin"] >= 0.02
    assert row["noisy"] == 0
    samples = findings(have(tmp_path / "2", {SIZES[0]: {"plain": 1e-5}}, passes=("step",)).run).in_order
    assert len(samples) == 8 * 7
    assert samples["share"].median() == pytest.approx(1)


@pytest.mark.parametrize(
    ("first", "latency", "calls"),
    [(10.0, 1e-3, 1 + 9.0 / 1e-3), (10.0, 2e-3, math.inf), (10.0, 3e-3, math.inf), (1.0, 3e-3, 1.0), (0.5, 1e-3, 1.0)],
)
def test_a_first_call_is_earned_by_what_the_others_take_longer(first: float, latency: float, calls: float) -> None:
    assert costs.break_even(first, latency, 1.0, 2e-3) == pytest.approx(calls)


def test_the_break_even_table_names_never_and_alike(tmp_path: Path) -> None:
    first = {"plain": 0.1, "shelf": 0.12, "made": 10.0, "hand": 1.0}
    times = {SIZES[0]: {"plain": 2e-4, "shelf": 1e-4, "made": 1e-4, "hand": 3e-4}}
    found = have(tmp_path, times, first=first, passes=("step",))
    frame = costs.break_evens(found.timing, found.first, found.baselines)
    shown = decision_tables.break_even(frame).set_index("strategy")
    assert shown.loc["hand", ["calls to break even", "range"]].tolist() == ["never", "never"]
    assert shown.loc["shelf", "range"] == "first call no dearer"
    assert int(shown.loc["made", "calls to break even"].replace(",", "")) == pytest.approx(99_000, rel=0.03)
    row = frame.set_index("strategy").loc["made"]
    assert row["calls_low"] < row["calls"] < row["calls_high"]


def test_a_size_that_there_was_no_time_for_says_so(tmp_path: Path) -> None:
    items = records({SIZES[0]: {"plain": 1e-5}, SIZES[1]: {"plain": 1e-4}})
    items = [i for i in items if i["kind"] != "samples" or i["dims"] != SIZES[1]]
    group = Group(*(items[0]["groups"][1][k] for k in ("layer", "dims", "dtype", "device", "threads")))
    where = {"dims": group.dims, "dtype": group.dtype, "device": group.device, "threads": group.threads}
    status = CaseStatus(group.layer, "plain", "skipped", "left out to stay within 20 min", "budget", **where)
    rows = winners(evidence(read(write(tmp_path, [*items, as_record(status)])))).set_index("dims")
    assert set(rows.loc[SIZES[1], "reason"]) == {"left out for time"}
    assert set(rows.loc[SIZES[0], "reason"]) == {""}
