"""Waived rows: a ratio and the waiver's words, no verdict, no pick, no drafted claim, in everything that is shown."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.analyse import frames, requirements
from harness.analyse import gate as gates
from harness.analyse.choose import choose
from harness.analyse.compare import compare
from harness.analyse.contending import Question, evidence
from harness.publish import check as checking
from harness.publish import claims as claiming
from harness.publish import seal as sealing
from harness.publish.drafting import draft
from harness.publish.evaluating import Measured, evaluate
from harness.publish.parts import parts
from harness.records.gate import Waived
from harness.records.schema import Check
from harness.records.store import Run
from harness.report import answer as words
from harness.report import everything, interchange, page
from tests.publish.bundles import BITS, RATIO, WINNER, run

WORDS = "waived: double_backward"
REASON = "double_backward: gradient of x: error 9, bound 1"
WAIVED = Waived("wave", "fast", "cpu", "double_backward", REASON)
WRONG = Check("wave", "fast", "double_backward", "float64", "cpu", "N=4,D=8", "gradient of x", "wrong", 9.0, 1.0)
EXTRA = (WAIVED, WRONG)


def _row(found: Run, name: str) -> Any:
    return next(r for r in frames.rows_of(frames.timing(found)) if r.strategy == name)


def _run(folder: Path, **more: Any) -> Run:
    return run(folder, extra=EXTRA, **more)


def test_a_waived_row_has_a_ratio_and_words_and_no_verdict(tmp_path: Path) -> None:
    plain, waived = run(tmp_path / "plain"), _run(tmp_path / "waived")
    assert _row(plain, "fast").verdict == "faster"
    row = _row(waived, "fast")
    assert (row.status, row.verdict) == ("ok", WORDS)
    assert (row.ratio, row.ratio_low) == (_row(plain, "fast").ratio, _row(plain, "fast").ratio_low)
    assert _row(waived, "same").verdict == _row(plain, "same").verdict
    gate = {r.strategy: (r.result, r.reason) for r in frames.rows_of(frames.gate(waived))}
    assert gate["fast"] == ("waived", REASON)
    assert gates.outcome(frames.gate(waived)) == "passed"


def test_what_is_waived_and_undecided_gets_no_second_look(tmp_path: Path) -> None:
    times = {"autograd": 1e-4, "fast": 1e-4, "same": 1e-4}
    assert frames.undecided(run(tmp_path / "plain", times, wander=0.1))
    lonely = {name: times[name] for name in ("autograd", "fast")}
    assert not frames.undecided(run(tmp_path / "waived", lonely, wander=0.1, extra=EXTRA))


def test_a_waived_strategy_is_picked_only_when_allowed_and_then_its_words_are_said(tmp_path: Path) -> None:
    have = evidence(_run(tmp_path))
    answer = choose(have, Question("wave"))
    assert answer.ranking is not None
    assert answer.ranking.pick != "fast"
    assert answer.rejected["fast"] == f"{WORDS} (--allow-waived counts it in): {REASON}"
    answer = choose(have, Question("wave", allow_waived=True))
    assert answer.ranking is not None
    assert answer.ranking.pick == "fast"
    assert words.sentence(answer).startswith(f"Use fast ({WORDS}) for wave")
    assert words.table(answer)["strategy"].iloc[0] == f"fast ({WORDS})"
    assert words.as_json(answer)["waived"] == {"fast": WORDS}
    answer = choose(have, Question("wave", allow_waived=True, require=("double_backward",)))
    assert "double backward" in answer.rejected["fast"]


def test_two_runs_are_compared_without_a_verdict_for_what_is_waived_in_one(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a"), _run(tmp_path / "b", seed=1)).rows
    assert list(found.loc[found["strategy"] == "fast", "verdict"]) == [WORDS]


def test_every_table_plot_and_page_has_the_words(tmp_path: Path) -> None:
    found = _run(tmp_path)
    written = everything.write_all(found, tmp_path / "shown")
    names_it = [p for p in written if p.suffix in (".md", ".csv", ".tex", ".svg") and "fast" in p.read_text()]
    assert len(names_it) > 20
    lost = [p.name for p in names_it if "waived" not in p.read_text()]
    assert not lost
    text = (tmp_path / "shown" / page.FILE).read_text()
    assert f"timed though refused: fast ({WORDS})" in text
    assert f"fast ({WORDS}); their rows have no verdict" in text
    cases = interchange.to_pytest_benchmark(evidence(found))["benchmarks"]
    assert {c["extra_info"]["verdict"] for c in cases if c["params"]["strategy"] == "fast"} == {WORDS}


def test_nothing_is_marked_without_a_waiver(tmp_path: Path) -> None:
    written = everything.write_all(run(tmp_path), tmp_path / "shown")
    assert not [p for p in written if p.suffix in (".md", ".csv", ".tex", ".svg") and "waived" in p.read_text()]


def test_no_claim_is_drafted_from_a_waived_row(tmp_path: Path) -> None:
    assert any("fast" in (c.strategy, c.against) for c in draft(run(tmp_path / "plain")))
    drafted = draft(_run(tmp_path / "waived"))
    assert drafted
    assert not [c for c in drafted if "fast" in (c.strategy, c.against)]


def test_a_winner_is_one_among_those_without_a_waiver(tmp_path: Path) -> None:
    measured = Measured(_run(tmp_path, times={"autograd": 1e-4, "fast": 1e-5, "same": 5e-5}))
    claim = dataclasses.replace(WINNER, strategy="same", threshold=1.5)
    assert evaluate(claim, measured).verdict == "held"
    assert measured.words(claim) == f"fast {WORDS}"


def test_a_claim_that_names_one_carries_the_words_and_cannot_lose_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    found = _run(folder)
    declared = tmp_path / "claims.toml"
    declared.write_text(claiming.to_toml([RATIO, BITS]))
    _, claims = sealing.seal(folder, declared)
    assert [c.waived for c in claims] == [f"fast {WORDS}"] * 2
    assert claims[0].sentence.endswith(f", forward (fast {WORDS})")
    assert f"wave/fast on cpu {WORDS.replace('_', chr(92) + '_')}" in (folder / "README.md").read_text()
    assert not [f for f in checking.check(folder, pictures=False) if f.verdict == "failed"]
    assert {part.waive for part in parts(claims, found)} == {("double_backward:fast",)}
    (claim, _) = claiming.read(folder)
    assert claim.waived == f"fast {WORDS}"
    bare = dataclasses.replace(claim, waived="")
    assert "waived: '' published" in checking.recomputed(bare, Measured(found)).detail
    assert "waived" not in claiming.as_fields(bare)


@pytest.mark.parametrize("text", ["<b>", "fast waived: ", "fast waived: a; ", "fast waived: a\nb", "fast"])
def test_a_stranger_s_claim_has_no_words_but_those_of_waivers(text: str) -> None:
    fields = {**claiming.as_fields(RATIO), "waived": "fast waived: copies, jacrev; same waived: copies"}
    known = tuple(claiming.FIELDS)
    assert claiming.of_fields(fields, "claim 1", known).waived == fields["waived"]
    with pytest.raises(claiming.ClaimError, match="is not of the form 'STRATEGY waived: CHECK'"):
        claiming.of_fields({**fields, "waived": text}, "claim 1", known)


def test_what_is_declared_not_to_be_offered_meets_no_requirement(tmp_path: Path) -> None:
    right = dataclasses.replace(WRONG, result="ok", error=0.5)
    found = run(tmp_path, extra=[right])
    assert requirements.unmet(found, "wave", "cpu", ("double_backward",))["fast"] == []
    next(r for r in found.of("strategy") if r["strategy"] == "fast")["limits"] = ["double_backward"]
    unmet = requirements.unmet(found, "wave", "cpu", ("double_backward",))["fast"]
    assert unmet == ["double backward is declared not to be offered"]


@pytest.mark.parametrize("field", ["layer", "check", "reason"])
def test_a_stranger_s_waiver_is_held_against_the_schema(tmp_path: Path, field: str) -> None:
    from harness.publish.evidence import refuse_odd
    from harness.publish.opening import BundleError

    found = run(tmp_path, extra=[{"kind": "waived", **dataclasses.asdict(WAIVED), field: 7}])
    with pytest.raises(BundleError, match=f"a waived record: {field} is '7'"):
        refuse_odd(found)
