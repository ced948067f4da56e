"""Two runs compared: on records that are made up, with changes that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.compare import compare, welch
from harness.records.store import read
from tests.analyse.made_up import about, header, run_of, samples, strategy, write
from tests.conftest import Cli

BEFORE = {"autograd": 1e-3, "fast": 5e-4}


def _verdict(folder: Path, after: dict[str, float], launches: int = 8) -> tuple[str, float]:
    found = compare(run_of(folder / "a", BEFORE, seed=1), run_of(folder / "b", after, launches, seed=2)).rows
    (row,) = found[found["strategy"] == "fast"].to_dict("records")
    return row["verdict"], row["change"]


@pytest.mark.parametrize(("seconds", "word"), [(5e-4, "tie"), (6e-4, "slower"), (4e-4, "faster")])
def test_a_change_is_found_and_no_change_is_a_tie(tmp_path: Path, seconds: float, word: str) -> None:
    verdict, change = _verdict(tmp_path, {**BEFORE, "fast": seconds})
    assert verdict == word
    assert change == pytest.approx(seconds / 5e-4, rel=0.02)


def test_a_slower_machine_is_no_change(tmp_path: Path) -> None:
    assert _verdict(tmp_path, {name: 3 * t for name, t in BEFORE.items()})[0] == "tie"


def test_too_few_launches_are_inconclusive_and_say_so(tmp_path: Path) -> None:
    assert _verdict(tmp_path, {**BEFORE, "fast": 1e-3}, launches=4)[0] == "inconclusive"


def test_what_is_in_one_run_only_is_missing(tmp_path: Path) -> None:
    found = compare(run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", {"autograd": 1e-3, "new": 1e-3})).rows
    assert dict(zip(found["strategy"], found["reason"], strict=True)) == {
        "fast": "not measured in the run after", "new": "not measured in the run before",
    }  # fmt: skip
    assert set(found["verdict"]) == {"missing"}


def test_what_else_has_changed_is_said(tmp_path: Path) -> None:
    other = header(stack={"torch": "3"}, digests={"wave": "a", "wave/autograd": "new"})
    notes = compare(run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", BEFORE, head=other)).notes
    assert notes == (
        "another torch: 2 before, 3 after",
        "changed source: wave/autograd (the baseline: no change is known)",
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"baselines": {"wave": "other"}}, "is autograd before and other after"),
        ({"digests": {"wave": "a", "wave/autograd": "new"}}, "autograd, has another source"),
        ({"stack": {"torch": "3"}}, "ran on torch 2 before and 3 after"),
    ],
)
def test_ratios_to_other_code_are_not_subtracted(tmp_path: Path, more: dict[str, Any], why: str, cli: Cli) -> None:
    run_of(tmp_path / "a", {**BEFORE, "other": 1e-3})
    run_of(tmp_path / "b", {**BEFORE, "fast": 9e-4, "other": 1e-3}, head=header(**more))
    done = cli("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json")
    cases = [c for c in json.loads(done.stdout)["cases"] if c["verdict"] != "missing"]
    assert cases
    assert {(c["verdict"], c["change"]) for c in cases} == {("unknown", None)}
    assert all(why in c["reason"] for c in cases)
    assert done.returncode == 3


def test_a_run_without_its_baseline_has_no_change_to_tell(tmp_path: Path) -> None:
    write(
        tmp_path / "b", strategy("fast"), *(samples("fast", n, about(5e-4), np.random.default_rng(n)) for n in range(8))
    )
    found = compare(run_of(tmp_path / "a", BEFORE), read(tmp_path / "b")).rows.set_index("strategy")
    assert found.loc["fast", "verdict"] == "unknown"
    assert found.loc["fast", "reason"] == "there is no ratio to the baseline in the run after"


def test_welch_is_that_of_scipy() -> None:
    from scipy.stats import ttest_ind

    one, other = [0.01, 0.02, 0.0, 0.015, 0.005], [0.05, 0.02, 0.07, 0.04, 0.03, 0.06]
    reference = ttest_ind(other, one, equal_var=False).confidence_interval(0.95)
    found = welch(one, other, 1)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
