"""Rows that are measured and get no verdict: impossible times, and passes in which a stale answer would pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analyse import limit
from harness.analyse.compare import compare
from harness.analyse.contending import Question, at, evidence
from harness.analyse.doubts import BASELINE, IMPOSSIBLE, NO_VERDICT, UNSEEN, WORDS, doubt
from harness.analyse.frames import timing
from harness.analyse.launches import FROM_MEMORY
from harness.records.meter import Roof
from harness.records.schema import Rounds, Work
from harness.records.store import Run
from harness.report.tables import main
from tests.analyse.made_up import CUDA, GROUP, about, header, samples, strategy, write

FLOOR = 1e-3
"""Seconds that the operations take at the machine's best rate."""
TIMES = {"autograd": 4e-3, "fast": 2e-3}


def _run(folder: Path, times: dict[str, float], unseen: str = "", group: Any = GROUP, regime: str = "wall") -> Run:
    rng = np.random.default_rng(0)
    device = group.device
    items: list[Any] = [strategy(name, place) for place, name in enumerate(times)]
    items += [Roof(device, 1, "copy", "", 2**20, 1e12), Roof(device, 1, "product", "float32", 0, 1e9)]
    items += [Work(group, "forward", int(1e9 * FLOOR), 8)]
    for launch in range(1, 9):
        for each in ("wall", "device_cold", "device_hot") if device == "cuda" else ("wall",):
            more = {"rng": rng, "group": group, "regime": each}
            items += [samples(n, launch, about(t, 0), **more) for n, t in times.items()]
            items.append(samples("autograd", launch, about(times["autograd"], 0), again=True, **more))
            items.append(
                Rounds(group, "forward", launch, each, 0, {}, judged=3, unseen=unseen if each == regime else "")
            )
    return write(folder, *items, head=header(group))


def _rows(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {r["strategy"]: (r["verdict"], r["flags"]) for r in frame.to_dict("records")}


@pytest.mark.parametrize(("share", "verdict"), [(1.04, "faster"), (1.06, NO_VERDICT), (20.0, NO_VERDICT)])
def test_what_beats_a_roof_by_more_than_a_twentieth_is_impossible(tmp_path: Path, share: float, verdict: str) -> None:
    found = _rows(timing(_run(tmp_path, {"autograd": 4e-3, "fast": FLOOR / share})))
    assert found["autograd"] == ("baseline", "")
    assert found["fast"] == (verdict, IMPOSSIBLE if verdict == NO_VERDICT else "")


def test_where_the_baseline_is_impossible_no_ratio_to_it_has_a_verdict(tmp_path: Path) -> None:
    run = _run(tmp_path, {"autograd": FLOOR / 2, "fast": 2e-3})
    assert _rows(timing(run)) == {"autograd": ("baseline", IMPOSSIBLE), "fast": (NO_VERDICT, BASELINE)}


@pytest.mark.parametrize("fast", [2e-3, FLOOR / 9])
def test_what_has_no_verdict_is_not_picked_nor_compared_nor_held_to_a_limit(tmp_path: Path, fast: float) -> None:
    unseen = "the answer of another call" if fast > FLOOR else ""
    run = _run(tmp_path / "a", {"autograd": 4e-3, "fast": fast}, unseen)
    right = _run(tmp_path / "b", TIMES)
    asked = Question("wave", GROUP.dims, "float32", "cpu", 1, "forward")
    fields = [at(evidence(each), asked, GROUP.dims, {}) for each in (right, run)]
    picks = [ranking and ranking.pick for one in fields for ranking in [one.ranking()]]
    assert picks == ["fast", None if unseen else "autograd"]
    assert fields[1].barred["fast"] == WORDS[UNSEEN if unseen else IMPOSSIBLE]
    (limited,) = limit.limited(run, "fast", 1.0)
    assert limited.verdict == "not_testable"
    assert WORDS[UNSEEN if unseen else IMPOSSIBLE] in limited.why
    (row,) = compare(right, run).rows.to_dict("records")
    assert (row["verdict"], row["reason"]) == ("missing", WORDS[UNSEEN if unseen else IMPOSSIBLE])


def test_a_pass_in_which_a_stale_answer_would_pass_has_times_and_words_but_no_verdict(tmp_path: Path) -> None:
    run = _run(tmp_path, TIMES, "the answer of another call")
    found = timing(run)
    assert _rows(found) == {"autograd": ("baseline", UNSEEN), "fast": (NO_VERDICT, UNSEEN)}
    shown = main(found).to_dict("records")[1]
    assert shown["notes"] == "a stale answer would pass"
    assert shown["verdict"] == "no verdict"
    assert shown["time (µs)"] != "–"


def test_of_a_gpu_each_regime_is_doubted_by_its_own_rounds_and_the_wall_by_the_device_s_time(tmp_path: Path) -> None:
    run = _run(tmp_path / "a", TIMES, "the answer of another call", CUDA, "device_hot")
    assert _rows(timing(run))["fast"][0] == "faster"
    assert _rows(timing(run, "device_hot"))["fast"] == (NO_VERDICT, UNSEEN)
    impossible = _run(tmp_path / "b", {"autograd": 4e-3, "fast": FLOOR / 3}, group=CUDA)
    assert _rows(timing(impossible))["fast"] == (NO_VERDICT, IMPOSSIBLE)


@pytest.mark.parametrize(
    ("ratio", "of_eight", "verdict"), [(1.2, 8, "faster"), (1.3, 3, "faster"), (1.3, 4, NO_VERDICT)]
)
def test_what_takes_longer_for_contents_that_it_has_not_read_before_has_no_verdict(
    tmp_path: Path, ratio: float, of_eight: int, verdict: str
) -> None:
    rng = np.random.default_rng(0)
    items: list[Any] = [strategy("autograd"), strategy("fast", 1)]
    for launch in range(1, 9):
        items += [samples("autograd", launch, about(4e-3), rng, again=again) for again in (False, True)]
        new = [1.0, ratio, 9.0] if launch <= of_eight else [1.0, 1.0, 9.0]
        items.append(samples("fast", launch, about(2e-3), rng, new_contents=new))
    found = _rows(timing(write(tmp_path, *items)))["fast"]
    assert found == (verdict, FROM_MEMORY if verdict == NO_VERDICT else "")


def test_words_are_those_of_the_first_doubt() -> None:
    assert doubt("noisy page_faults") == ""
    assert doubt(f"{IMPOSSIBLE} noisy") == WORDS[IMPOSSIBLE]
