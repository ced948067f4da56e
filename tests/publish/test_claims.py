"""Claims: as a person writes them, held against runs, and drafted from results."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.publish import claims as claiming
from harness.publish.claims import Claim, ClaimError
from harness.publish.drafting import draft
from harness.publish.evaluating import Measured, evaluate
from harness.records.schema import CaseStatus, Check, Group, Memory
from tests.analyse.made_up import GROUP, about, samples
from tests.publish.bundles import BITS, CLAIMS, CONVERGES, CORRECT, MEMORY, RATIO, WINNER, gate_of, run

GOOD = """
[[claim]]
id = "first"
kind = "ratio"
layer = "wave"
strategy = "fast"
against = "autograd"
dtype = "float32"
pass = "forward"
dims = "N>=32, D=8"
threshold = 1.2
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return Measured(run(tmp_path_factory.mktemp("run")))


def test_a_person_can_write_one(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(GOOD)
    (claim,) = claiming.read_toml(path)
    assert (claim.passed, claim.threshold, claim.operator, claim.drafted) == ("forward", 1.2, ">=", False)
    assert claim.selects("N=64,D=8")
    assert not claim.selects("N=16,D=8")
    assert not claim.selects("N=64,D=9")
    assert claim.sentence == (
        "fast is at least 1.2 × as fast as autograd: wave at N>=32, D=8, float32, on cpu, forward"
    )


def test_exact_sizes_name_all_dims() -> None:
    exact = dataclasses.replace(RATIO, dims="N=64,D=8")
    assert exact.selects("N=64,D=8")
    assert not exact.selects("N=64,D=8,T=2")
    assert dataclasses.replace(RATIO, dims="T>=2").selects("N=64,T=8")
    assert not dataclasses.replace(RATIO, dims="T>=2").selects("N=64")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('kind = "ratio"', 'kind = "ration"', "unknown kind 'ration': choose from ratio, winner"),
        ("threshold = 1.2", 'threshold = "1.2"', "threshold = '1.2' is not a number"),
        ("threshold = 1.2", "threshold = nan", "is not a number"),
        ("threshold = 1.2", "threshold = -1", "threshold must be above 0"),
        ("threshold = 1.2", "treshold = 1.2", "unknown field 'treshold': choose from id, kind"),
        ("threshold = 1.2", "value = 3.0", "unknown field 'value'"),
        ('dims = "N>=32, D=8"', 'dims = "big"', "dims 'big': write sizes such as"),
        ('pass = "forward"', 'pass = "sideways"', "unknown pass 'sideways'"),
        ('against = "autograd"', "", "names in `against` the strategy"),
        ('strategy = "fast"', 'strategy = "../x"', "is not a name"),
        ('id = "first"', "", "id is missing"),
        ("[[claim]]", "[claim]", r"write each claim as a \[\[claim\]\] table"),
        ("[[claim]]", "[[claim", "is not TOML"),
        (GOOD, GOOD + GOOD, "first is there twice"),
        (GOOD, "", "write each claim as"),
    ],
)
def test_what_makes_no_sense_gets_one_line_that_names_it(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "claims.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ClaimError, match=told) as error:
        claiming.read_toml(path)
    assert "\n" not in str(error.value)


def test_toml_and_json_give_back_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text(claiming.to_toml(CLAIMS))
    assert claiming.read_toml(tmp_path / "claims.toml") == list(CLAIMS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_each_kind_holds_where_it_is_true(measured: Measured, claim: Claim) -> None:
    found = evaluate(claim, measured)
    assert found.verdict == "held", found.why
    assert found.value is not None
    assert found.n > 0


def test_a_ratio_has_the_value_of_its_table(measured: Measured) -> None:
    found = evaluate(RATIO, measured)
    row = next(r for r in measured.rows.values() if r.strategy == "fast")
    assert found.value == pytest.approx(1 / row.ratio)
    assert (found.low, found.high) == (pytest.approx(1 / row.ratio_high), pytest.approx(1 / row.ratio_low))
    assert found.n == row.launches


@pytest.mark.parametrize(("threshold", "verdict"), [(1.5, "held"), (2.5, "failed"), (2.0, "inconclusive")])
def test_a_threshold_inside_the_interval_is_inconclusive(measured: Measured, threshold: float, verdict: str) -> None:
    assert evaluate(dataclasses.replace(RATIO, threshold=threshold), measured).verdict == verdict


def test_at_most_is_the_other_way_round(measured: Measured) -> None:
    assert evaluate(dataclasses.replace(RATIO, operator="<=", threshold=2.5), measured).verdict == "held"
    assert evaluate(dataclasses.replace(RATIO, operator="<=", threshold=1.5), measured).verdict == "failed"


def test_against_another_than_the_baseline(measured: Measured) -> None:
    found = evaluate(dataclasses.replace(RATIO, against="same"), measured)
    assert found.verdict == "held"
    assert found.value == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("changed", [{"dims": "N=1,D=1"}, {"dtype": "bfloat16"}, {"device": "cuda"}, {"threads": 2},
                                     {"strategy": "absent"}, {"layer": "other"}])  # fmt: skip
@pytest.mark.parametrize("claim", [RATIO, WINNER, BITS], ids=lambda c: c.kind)
def test_what_was_not_measured_is_not_testable(measured: Measured, claim: Claim, changed: dict[str, Any]) -> None:
    assert evaluate(dataclasses.replace(claim, **changed), measured).verdict == "not_testable"


def test_the_weakest_of_several_sizes_counts(tmp_path: Path) -> None:
    import numpy as np

    big = Group("wave", "N=640,D=8", "float32", "cpu", 1)
    rng = np.random.default_rng(1)
    extra = [samples(name, n, about(t), rng, group=big) for n in range(1, 9)
             for name, t in {"autograd": 1e-3, "fast": 0.9e-3}.items()]  # fmt: skip
    found = evaluate(RATIO, Measured(run(tmp_path, extra=extra, groups=[vars(GROUP), vars(big)])))
    assert found.verdict == "failed"
    assert found.value == pytest.approx(1.11, rel=0.02)
    assert "1 of 2 cases (wave N=640,D=8 float32 cpu, forward)" in found.why


def test_a_winner_that_only_ties_is_inconclusive_and_one_that_loses_fails(measured: Measured) -> None:
    assert evaluate(dataclasses.replace(WINNER, strategy="same"), measured).verdict == "failed"
    assert evaluate(dataclasses.replace(WINNER, strategy="autograd"), measured).verdict == "failed"


def test_a_second_look_without_the_others_leaves_a_winner_its_launches(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    later = [samples(name, 9, about(t), rng) for name, t in (("fast", 5e-5), ("autograd", 1e-4))]
    found = evaluate(WINNER, Measured(run(tmp_path, extra=later)))
    assert found.verdict == "held"
    assert {c.strategy or c.why: c.n for c in found.cases} == {"against autograd": 9, "against same": 8}


def test_wrong_answers_other_bits_and_other_training_fail(tmp_path: Path) -> None:
    extra = [
        Check("wave", "fast", "values", "float32", "cpu", "N=4,D=8", "gradient of x", "wrong", 1.0, 1e-6),
        dataclasses.replace(gate_of("fast")[1], verdict="different"),
        dataclasses.replace(samples("fast", 9, about(5e-5), np.random.default_rng(0)), digest="other"),
    ]
    found = Measured(run(tmp_path, extra=extra))
    assert evaluate(CORRECT, found).verdict == "failed"
    assert "fast: values of gradient of x is wrong" in evaluate(CORRECT, found).why
    assert evaluate(CONVERGES, found).verdict == "failed"
    assert evaluate(BITS, found).verdict == "failed"


def test_a_strategy_that_the_gate_refused_crashed_or_skipped(tmp_path: Path) -> None:
    for status, verdict in (("wrong", "failed"), ("crashed", "error"), ("unsupported", "not_testable")):
        extra = [CaseStatus("wave", "fast", status, "why", "gate", device="cpu")]  # type: ignore[arg-type]
        found = Measured(run(tmp_path / status, extra=extra))
        assert evaluate(CORRECT, found).verdict == verdict


def test_memory_against_nothing_is_not_testable(tmp_path: Path) -> None:
    extra = [Memory(GROUP, "autograd", 0, 1, 1, 1, 0)]
    found = evaluate(MEMORY, Measured(run(tmp_path, extra=extra)))
    assert (found.verdict, found.why[:8]) == ("not_testable", "autograd")


def test_what_the_profile_declared_stands_whether_it_holds_or_not(tmp_path: Path) -> None:
    other = dataclasses.replace(samples("fast", 9, about(5e-5), np.random.default_rng(0)), digest="other")
    head = {"profile_claims": ["correct", "converges", "bits"]}
    claims = draft(run(tmp_path, extra=[other], **head))
    declared = {c.kind for c in claims if not c.drafted}
    assert declared == {"correct", "converges", "bits"}
    (bits,) = [c for c in claims if c.kind == "bits"]
    assert evaluate(bits, Measured(run(tmp_path / "again", extra=[other], **head))).verdict == "failed"
    plain = draft(run(tmp_path / "plain", extra=[other]))
    assert "bits" not in {c.kind for c in plain}
    assert all(c.drafted for c in plain)


def test_drafts_are_few_hold_with_room_and_say_what_they_are(tmp_path: Path) -> None:
    made = run(tmp_path)
    claims = draft(made)
    assert 4 <= len(claims) <= 8
    assert all(c.drafted for c in claims)
    measured = Measured(made)
    assert {evaluate(c, measured).verdict for c in claims} == {"held"}
    (ratio,) = [c for c in claims if c.kind == "ratio"]
    assert ratio.strategy == "fast"
    assert 1.4 <= ratio.threshold <= 1.5
    assert {c.kind for c in claims} == set(claiming.KINDS)


def test_a_ratio_that_no_repeat_could_confirm_is_not_drafted(tmp_path: Path) -> None:
    wide = draft(run(tmp_path, times={"autograd": 1e-4, "fast": 2.5e-5}, wander=0.1))
    assert "winner" in {c.kind for c in wide}
    assert "ratio" not in {c.kind for c in wide}
