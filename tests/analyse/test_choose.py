"""The choice on simulated runs whose right answer is known, and what it refuses to say."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.choose import Answer, QuestionError, choose
from harness.analyse.contending import Question, evidence
from harness.analyse.requirements import UnknownRequirementError
from harness.analyse.sizes import OutsideError
from harness.analyse.winners import winners
from harness.records.advice import NEXT
from harness.records.store import read
from tests.analyse.recorded import SIZES, check, have, records, write

ONE = SIZES[1]


def _ask(folder: Path, times: dict[str, Any], question: Question | None = None, **more: Any) -> Answer:
    times = times if "=" in next(iter(times)) else {ONE: times}
    return choose(have(folder, times, **more), question or Question("one"))


def test_the_fastest_by_far_is_taken(tmp_path: Path) -> None:
    answer = _ask(tmp_path, {"plain": 2.0e-4, "shelf": 1.5e-4, "hand": 1.0e-4})
    assert answer.ranking is not None
    assert (answer.ranking.pick, answer.ranking.confidence, answer.settled) == ("hand", "clear", True)
    assert list(answer.ranking.against) == ["shelf", "plain"]
    assert answer.ranking.against["shelf"].low <= 1.5 <= answer.ranking.against["shelf"].high
    assert answer.baseline is not None
    name, found = answer.baseline
    assert name == "plain"
    assert found.low <= 0.5 <= found.high


def test_of_those_that_tie_the_simplest_is_taken(tmp_path: Path) -> None:
    answer = _ask(tmp_path, {"plain": 2.0e-4, "shelf": 1.002e-4, "made": 1.004e-4, "hand": 1.0e-4})
    assert answer.ranking is not None
    assert (answer.ranking.cheapest, answer.ranking.pick) == ("hand", "shelf")
    assert answer.ranking.confidence == "tie"
    assert {n: c.verdict for n, c in answer.ranking.against.items()} == {
        "hand": "tie",
        "made": "tie",
        "plain": "slower",
    }


def test_a_pick_that_noise_may_have_made_is_not_called_settled(tmp_path: Path) -> None:
    answer = _ask(tmp_path, {"plain": 2.0e-4, "made": 1.0e-4, "hand": 1.0e-4}, noise={"made": 0.1, "hand": 0.1})
    assert answer.ranking is not None
    assert not answer.settled
    assert set(answer.ranking.unsettled) == {"made", "hand"} - {answer.ranking.pick}


def test_four_launches_settle_nothing(tmp_path: Path) -> None:
    answer = _ask(tmp_path, {"plain": 2.0e-4, "hand": 1.0e-4}, launches=4)
    assert answer.ranking is not None
    assert answer.ranking.unsettled == ("plain",)
    assert any("4 of 5 launches" in note for note in answer.notes)


def test_what_failed_the_gate_is_never_taken_however_fast(tmp_path: Path) -> None:
    answer = _ask(tmp_path, {"plain": 2.0e-4, "hand": 1.0e-5}, failed={"hand": "gradient of x: error 9, bound 1"})
    assert answer.ranking is not None
    assert answer.ranking.pick == "plain"
    assert answer.rejected["hand"] == "did not pass the gate: gradient of x: error 9, bound 1"
    assert "hand" not in answer.standings


def test_samples_of_a_strategy_that_failed_the_gate_do_not_count(tmp_path: Path) -> None:
    """Samples that were there before the gate failed it, in the same records."""
    from harness.analyse.contending import evidence
    from harness.records.store import read
    from tests.analyse.recorded import records, write

    times = {ONE: {"plain": 2.0e-4, "hand": 1.0e-5}}
    status = [r for r in records(times, failed={"hand": "no"}) if r["kind"] == "status"]
    answer = choose(evidence(read(write(tmp_path, [*records(times), *status]))), Question("one"))
    assert answer.ranking is not None
    assert answer.ranking.pick == "plain"


FAST = {"plain": 4.0e-4, "shelf": 3.0e-4, "made": 2.0e-4, "hand": 1.0e-4}


@pytest.mark.parametrize(
    ("require", "pick", "reasons"),
    [
        (("vmap",), "made", {"hand": "vmap(grad) is not offered: no rule"}),
        (("jacrev",), "shelf", {"hand": f"wrong under jacrev: off by 9; next: {NEXT['jacrev']}", "made": "jacrev was not checked in this run"}),
        (("double_backward",), "made", {"hand": "wrong under double backward, by a defect of PyTorch: torch: lost"}),
        (("no_compiler", "jacrev"), "shelf", {"made": "needs a C++ compiler; jacrev was not checked in this run"}),
        (("deterministic",), "shelf", {"hand": "not deterministic: output is within noise in a fresh process",
                                      "made": "determinism was not checked in this run"}),
        (("no_gpu",), "hand", {}),
    ],
)  # fmt: skip
def test_requirements_come_from_the_gate(tmp_path: Path, require: Any, pick: str, reasons: dict[str, str]) -> None:
    checks = [check(n, c) for n in ("plain", "shelf", "made", "hand") for c in ("per_sample", "double_backward")]
    checks += [check("hand", "per_sample", "limited", detail="no rule", error=None)]
    checks += [check("hand", "double_backward", "wrong", upstream="torch: lost")]
    checks += [check("plain", "jacrev"), check("shelf", "jacrev"), check("hand", "jacrev", "wrong", detail="off by 9")]
    for name, fresh in (("plain", "bitwise"), ("shelf", "bitwise"), ("hand", "within noise")):
        checks += [check(name, "repeats", detail="bitwise"), check(name, "fresh_process", detail=fresh)]
    answer = _ask(tmp_path, FAST, Question("one", require=require), checks=checks, needs={"made": ["compiler"]})
    assert answer.ranking is not None
    assert answer.ranking.pick == pick
    assert {name: answer.rejected[name] for name in reasons} == reasons


def test_where_nothing_is_left_there_is_no_pick(tmp_path: Path) -> None:
    answer = _ask(tmp_path, FAST, Question("one", require=("autocast",)))
    assert answer.ranking is None
    assert set(answer.rejected) == set(FAST)
    assert not answer.settled


def test_an_unknown_requirement_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownRequirementError, match="unknown requirement 'speed': choose from double_backward"):
        _ask(tmp_path, FAST, Question("one", require=("speed",)))


HELD = {"plain": 4000, "shelf": 1000, "made": 2000, "hand": 8000}


def test_memory_can_be_the_aim_or_the_limit(tmp_path: Path) -> None:
    least = _ask(tmp_path, FAST, Question("one", objective="memory"), held=HELD)
    assert least.ranking is not None
    assert (least.ranking.pick, least.ranking.confidence) == ("shelf", "clear")
    capped = _ask(tmp_path, FAST, Question("one", max_memory=4000), held=HELD)
    assert capped.ranking is not None
    assert capped.ranking.pick == "made"
    assert capped.rejected == {"hand": "needs 7.812 KiB, more than the 3.906 KiB allowed"}
    unknown = _ask(tmp_path, FAST, Question("one", max_memory=4000))
    assert unknown.ranking is None
    assert set(unknown.rejected.values()) == {"its memory was not measured"}


def test_the_pareto_set_holds_what_none_beats_in_both(tmp_path: Path) -> None:
    answer = _ask(tmp_path, FAST, held=HELD)
    assert answer.pareto == ["hand", "made", "shelf"]  # plain is slower than made and needs more


def test_compile_time_counts_over_few_steps_and_is_earned_over_many(tmp_path: Path) -> None:
    first = {"plain": 0.1, "shelf": 0.1, "made": 10.0, "hand": 0.1}
    times = {"plain": 4.0e-4, "shelf": 3.0e-4, "made": 1.0e-4}
    few = _ask(tmp_path, times, Question("one", steps=1000), first=first)
    many = _ask(tmp_path, times, Question("one", steps=1_000_000), first=first)
    assert few.question.passed == "forward_backward"  # a first call is of a forward and backward
    assert few.ranking is not None
    assert many.ranking is not None
    assert (few.ranking.pick, many.ranking.pick) == ("shelf", "made")
    assert few.standings["made"].total == pytest.approx(10.0 + 999 * 1e-4, rel=0.01)
    (earned,) = [e for e in few.break_even if (e.strategy, e.other) == ("made", "shelf")]
    assert earned.calls == pytest.approx(1 + 9.9 / 2e-4, rel=0.02)
    assert [(e.strategy, e.other) for e in many.break_even] == [("made", "plain"), ("made", "shelf")]


def test_one_cold_start_is_not_precise(tmp_path: Path) -> None:
    first = {"plain": 0.30, "shelf": 0.36, "made": 10.0, "hand": 0.3}
    answer = _ask(tmp_path, dict.fromkeys(first, 0.0001), Question("one", objective="first_step"), first=first)
    assert answer.ranking is not None
    assert answer.ranking.against["made"].verdict == "slower"
    assert answer.ranking.against["shelf"].verdict == "inconclusive"


CROSSING = {
    SIZES[0]: {"plain": 1.0e-5, "hand": 2.0e-5},
    SIZES[1]: {"plain": 1.0e-4, "hand": 1.0e-4},
    SIZES[2]: {"plain": 2.0e-3, "hand": 1.0e-3},
}


def test_the_size_where_the_winner_changes_is_named(tmp_path: Path) -> None:
    answer = _ask(tmp_path, CROSSING)
    (change,) = answer.changes
    assert (change.lower, change.upper, change.below, change.above) == (SIZES[1], SIZES[2], "plain", "hand")
    ends = {k: CROSSING[k] for k in (SIZES[0], SIZES[2])}
    (change,) = _ask(tmp_path / "2", ends).changes
    assert change.crossing == pytest.approx(0.5, abs=0.02)
    assert change.settled


def test_between_measured_sizes_it_interpolates_and_says_so(tmp_path: Path) -> None:
    answer = _ask(tmp_path, CROSSING, Question("one", dims="N=32,D=32"))
    assert (answer.place.lower, answer.place.upper, answer.place.measured) == (SIZES[0], SIZES[1], False)
    assert answer.place.weight == pytest.approx(0.5)
    assert answer.place.doublings == pytest.approx(math.sqrt(2))
    assert answer.ranking is not None
    assert (answer.ranking.pick, answer.settled) == ("plain", True)
    assert answer.ranking.against["hand"].ratio == pytest.approx(math.sqrt(2), rel=0.02)
    assert any("interpolated" in note for note in answer.notes)


BENT = {
    "N=16,D=16,flag=0": {"plain": 1.0e-5, "hand": 2.0e-5},
    "N=64,D=64,flag=1": {"plain": 8.0e-4, "hand": 1.0e-4},
    "N=256,D=256,flag=0": {"plain": 1.0e-3, "hand": 2.0e-3},
    "N=256,D=256,flag=1": {"plain": 2.0e-3, "hand": 1.0e-3},
}


def test_sizes_with_other_options_are_not_joined(tmp_path: Path) -> None:
    answer = _ask(tmp_path, BENT, Question("one", dims="flag=0,N=64,D=64"))
    assert (answer.place.lower, answer.place.upper) == ("N=16,D=16,flag=0", "N=256,D=256,flag=0")
    assert answer.ranking is not None
    assert (answer.ranking.pick, answer.settled) == ("plain", True)
    assert not answer.changes
    bent = _ask(tmp_path / "2", BENT, Question("one", dims="N=128,D=128,flag=1"))
    assert (bent.place.lower, bent.place.upper) == ("N=64,D=64,flag=1", "N=256,D=256,flag=1")
    assert bent.ranking is not None
    assert bent.ranking.pick == "hand"
    with pytest.raises(OutsideError, match="lies outside of what was measured"):
        _ask(tmp_path / "3", BENT, Question("one", dims="N=32,D=32,flag=1"))


def test_an_option_that_was_not_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="no size with 'flag=2': choose from flag=0, flag=1"):
        _ask(tmp_path, BENT, Question("one", dims="N=64,D=64,flag=2"))


def test_between_sizes_with_different_winners_nothing_is_settled(tmp_path: Path) -> None:
    answer = _ask(tmp_path, CROSSING, Question("one", dims="N=200,D=200"))
    assert answer.ranking is not None
    assert (answer.ranking.pick, answer.ranking.confidence) == ("hand", "unsettled")
    assert answer.ends == {SIZES[1]: "plain", SIZES[2]: "hand"}


@pytest.mark.parametrize("dims", ["N=8,D=8", "N=512,D=512", "N=256,D=16", "N=16,D=256"])
def test_outside_of_the_data_it_declines(tmp_path: Path, dims: str) -> None:
    with pytest.raises(OutsideError, match="lies outside of what was measured"):
        _ask(tmp_path, CROSSING, Question("one", dims=dims))


def test_a_size_that_was_planned_and_not_measured_is_no_datum(tmp_path: Path) -> None:
    times = {SIZES[0]: CROSSING[SIZES[0]], SIZES[1]: {}, SIZES[2]: CROSSING[SIZES[2]]}
    answer = _ask(tmp_path / "1", times, Question("one", dims="N=32,D=32"))
    assert (answer.place.lower, answer.place.upper) == (SIZES[0], SIZES[2])
    with pytest.raises(OutsideError, match=f"measured \\(only {SIZES[0]}\\)"):
        _ask(tmp_path / "2", {**times, SIZES[2]: {}}, Question("one", dims="N=32,D=32"))
    answer = _ask(tmp_path / "3", times, Question("one", dims=SIZES[1]))
    assert (answer.ranking, answer.launches) == (None, 0)


def test_a_strategy_measured_at_one_end_only_is_not_interpolated(tmp_path: Path) -> None:
    times = {SIZES[0]: {"plain": 1e-5, "hand": 5e-6}, SIZES[1]: {"plain": 1e-4}}
    answer = _ask(tmp_path, times, Question("one", dims="N=32,D=32"))
    assert answer.ranking is not None
    assert answer.ranking.pick == "plain"
    assert "before it was measured" in answer.rejected["hand"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("two"), "this run has no layer 'two': choose from one"),
        (Question("one", dtype="float16"), "no dtype 'float16': choose from float32"),
        (Question("one", device="cuda"), "no device 'cuda': choose from cpu"),
        (Question("one", threads=7), "no number of threads 7: choose from 1"),
        (Question("one", passed="inference"), "no pass 'inference': choose from forward_backward, step"),
        (Question("one", dims="N=4"), "--dims N=4: give each of N, D a size, such as N=64,D=64"),
        (Question("one", dims="N=4,D=x"), "--dims N=4,D=x: give each of N, D a size"),
        (Question("one", dims="N=0,D=4"), "give each of N, D a size"),
        (Question("one", steps=5, objective="memory"), "--steps counts time"),
    ],
)
def test_what_the_run_does_not_hold_is_said_in_one_line(tmp_path: Path, question: Question, message: str) -> None:
    with pytest.raises(QuestionError) as error:
        _ask(tmp_path, FAST, question)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_dims_are_taken_in_any_order(tmp_path: Path) -> None:
    assert _ask(tmp_path, CROSSING, Question("one", dims="D=64,N=64")).question.dims == SIZES[1]


def test_a_pass_is_chosen_among_the_groups_that_have_it(tmp_path: Path) -> None:
    """A looped pass is measured at one size of several: that is its only one, and the default."""
    small, large = SIZES[:2]
    times = {small: {"plain": 2e-4, "hand": 1e-4}, large: {"plain": 2e-3, "hand": 4e-3}}
    items = records(times, passes=("forward_backward", "per_sample"))
    kept = [r for r in items if (r.get("pass"), r.get("dims")) != ("per_sample", large)]
    passes = {small: ["forward_backward", "per_sample"], large: ["forward_backward"]}
    kept[0]["groups"] = [{**g, "passes": passes[g["dims"]]} for g in reversed(kept[0]["groups"])]
    found = evidence(read(write(tmp_path, kept)))
    assert choose(found, Question("one")).question.dims == large
    answer = choose(found, Question("one", passed="per_sample"))
    assert answer.question.dims == small
    assert answer.ranking is not None
    assert answer.ranking.pick == "hand"
    with pytest.raises(QuestionError, match="choose from forward_backward, per_sample"):
        choose(found, Question("one", passed="ensemble"))
    with pytest.raises(OutsideError):
        choose(found, Question("one", passed="per_sample", dims=large))
    assert len(found.timing) == 3 * 4
    cells = winners(found)
    assert list(cells[cells["pass"] == "per_sample"]["pick"]) == ["hand", ""]
