"""Verdicts of a reproduction, on runs that are made up: nothing is timed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse.compare import compare
from harness.publish import claims as claiming
from harness.publish import pages
from harness.publish.check import check
from harness.publish.claims import Claim
from harness.publish.difference import difference
from harness.publish.environments import tier
from harness.publish.merging import merged
from harness.publish.opening import BundleError
from harness.publish.parts import Part, parts
from harness.publish.reproduce import Here, Reproduction, as_fields, reproduce
from harness.records.schema import CaseStatus, Check
from harness.records.store import Run, read
from harness.run.conductor import WorkerError
from harness.run.wanted import UsageError
from tests.analyse.made_up import GROUP, about, samples
from tests.publish.bundles import BITS, CLAIMS, DIGESTS, MEMORY, RATIO, TIMES, machine, run, sealed

HERE = Here({"kind": "environment", "torch": "2"}, DIGESTS, 2, machine)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed(tmp_path_factory.mktemp("sealed") / "run")


def _runs(**more: Any) -> Callable[[Part, Path, float | None], Run]:
    """A runner that makes its runs up, each with another seed."""
    seeds = iter(range(100, 200))

    def run_part(part: Part, folder: Path, seconds: float | None) -> Run:
        return run(folder, **{"times": TIMES, "launches": part.launches, "seed": next(seeds), **more})

    return run_part


def _reproduce(bundle: Path, work: Path, runner: Any, *ids: str, here: Here = HERE, **more: Any) -> Reproduction:
    return reproduce(bundle, ids, here, runner, work, say=lambda text: None, **more)


def _words(found: Reproduction) -> dict[str, str]:
    return {v.claim.id: v.verdict for v in found.verdicts}


def test_the_same_holds_at_the_first_look_on_the_same_machine(bundle: Path, tmp_path: Path) -> None:
    looks: list[Part] = []
    made_up = _runs()

    def runner(part: Part, folder: Path, seconds: float | None) -> Run:
        looks.append(part)
        return made_up(part, folder, seconds)

    found = _reproduce(bundle, tmp_path / "id", runner)
    assert set(_words(found).values()) == {"held"}, [(v.claim.id, v.why) for v in found.verdicts]
    assert (found.exit_code, found.tier.number, found.changed) == (0, 1, ())
    assert [p.launches for p in looks] == [5]


@pytest.mark.parametrize("slower", [1.10, 1 / 1.10])
def test_ten_percent_slower_or_faster_than_published_fails_though_the_threshold_is_met(
    bundle: Path, tmp_path: Path, slower: float
) -> None:
    found = _reproduce(bundle, tmp_path / "id", _runs(times={**TIMES, "fast": slower * TIMES["fast"]}))
    words = _words(found)
    assert words.pop("fast-twice") == "failed"
    assert set(words.values()) == {"held"}
    assert found.exit_code == 1
    (why,) = [v.why for v in found.verdicts if v.verdict == "failed"]
    assert "× the published one" in why


def test_a_ratio_to_other_code_is_not_held_against_the_published_one(bundle: Path, tmp_path: Path) -> None:
    changed = {**DIGESTS, "wave/autograd": "changed"}
    slower = _runs(times={**TIMES, "autograd": 1.2 * TIMES["autograd"]}, digests=changed)
    here = dataclasses.replace(HERE, digests=changed)
    found = _reproduce(bundle, tmp_path / "id", slower, "fast-twice", here=here)
    (verdict,) = found.verdicts
    assert (found.tier.number, verdict.verdict) == (2, "held")
    assert "autograd has another source" in verdict.why


STEP = dataclasses.replace(RATIO, id="fast-step", passed="step")
STEP_MEMORY = dataclasses.replace(MEMORY, id="small-step", quantity="step_peak")


def _with_steps(launches: int = 8) -> list[Any]:
    rng = np.random.default_rng(7)
    return [
        samples(name, launch, about(t), rng, again, passed="step")
        for launch in range(1, launches + 1)
        for name, again, t in (*((name, False, t) for name, t in TIMES.items()), ("autograd", True, TIMES["autograd"]))
    ]


def test_a_step_with_the_loss_in_it_is_not_reproduced_by_todays(tmp_path: Path) -> None:
    head: dict[str, Any] = {"schema": 1, "passes": ("forward", "step"), "extra": _with_steps()}
    old = sealed(tmp_path / "old", (STEP, STEP_MEMORY, MEMORY, BITS, RATIO), **head)
    assert {f.verdict for f in check(old, pictures=False) if f.what != "picture"} == {"held"}
    assert {c.passed for c in claiming.read(old, 1)} == {"step_with_loss", "forward", ""}
    asked: list[Part] = []
    made_up = _runs()

    def runner(part: Part, folder: Path, seconds: float | None) -> Run:
        asked.append(part)
        return made_up(part, folder, seconds)

    found = _reproduce(old, tmp_path / "id", runner)
    words, why = _words(found), {v.claim.id: v.why for v in found.verdicts}
    assert {p for part in asked for p in part.passes} == {"forward"}
    assert words == {
        "fast-step": "not_testable", "small-step": "not_testable", "fast-small": "held", "fast-bits": "held",
        "fast-twice": "held",
    }  # fmt: skip
    assert "it is about step_with_loss (forward, the task's loss" in why["fast-step"]
    assert "it is about step_with_loss" in why["small-step"]
    assert "not asked, since it is another thing here: step_with_loss" in why["fast-bits"]
    assert found.exit_code == 0


def test_a_pass_that_was_another_thing_is_neither_pooled_nor_reproduced_nor_compared(tmp_path: Path) -> None:
    other = {"modes": {"forward": "a forward with the loss"}}
    before, now = run(tmp_path / "a", TIMES, **other), run(tmp_path / "b", TIMES)
    with pytest.raises(ValueError, match="a pass is not the same thing"):
        merged([before, now], 1)
    rows = compare(before, now).rows
    assert set(rows["verdict"]) == {"unknown"}
    assert all(
        "forward was another thing before (a forward with the loss; after: the forward" in r for r in rows["reason"]
    )
    found = _reproduce(sealed(tmp_path / "old", (RATIO,), **other), tmp_path / "id", _runs())
    assert _words(found) == {"fast-twice": "not_testable"}


def test_a_first_layers_step_is_another_thing(tmp_path: Path) -> None:
    layer = {"kind": "layer", "layer": "wave", "first_layer": True}
    one = run(tmp_path / "a", TIMES, passes=("step",), extra=_with_steps())
    other = run(tmp_path / "b", TIMES, passes=("step",), extra=[*_with_steps(), layer])
    bundle = sealed(tmp_path / "old", (dataclasses.replace(STEP_MEMORY, id="small"),))
    assert _words(_reproduce(bundle, tmp_path / "id", _runs())) == {"small": "held"}
    assert _words(_reproduce(bundle, tmp_path / "first", _runs(extra=[layer]))) == {"small": "not_testable"}
    assert set(compare(one, one).rows["verdict"]) == {"tie"}
    assert set(compare(one, other).rows["verdict"]) == {"unknown"}


@pytest.mark.parametrize("header", [{"baselines": {"wave": "fast"}}, {"digests": {"wave/autograd": "changed"}}])
def test_runs_with_other_baselines_are_not_pooled(tmp_path: Path, header: dict[str, Any]) -> None:
    one, other = run(tmp_path / "a", TIMES), run(tmp_path / "b", TIMES, **header)
    with pytest.raises(ValueError, match="baseline is not the same code"):
        merged([one, other], 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_change_fails_the_right_claim_five_times_in_five(bundle: Path, tmp_path: Path, seed: int) -> None:
    found = _reproduce(bundle, tmp_path / "id", _runs(times={**TIMES, "fast": 1.1 * TIMES["fast"]}, seed=seed))
    assert [name for name, word in _words(found).items() if word == "failed"] == ["fast-twice"]


def test_too_noisy_is_inconclusive_after_more_launches(bundle: Path, tmp_path: Path) -> None:
    looks: list[int] = []
    made_up = _runs(wander=0.15)

    def runner(part: Part, folder: Path, seconds: float | None) -> Run:
        looks.append(part.launches)
        return made_up(part, folder, seconds)

    found = _reproduce(bundle, tmp_path / "id", runner, "fast-twice")
    assert (_words(found), found.exit_code) == ({"fast-twice": "inconclusive"}, 3)
    assert looks == [5, 8, 12]
    assert found.verdicts[0].here.n == 25


def test_a_gradient_that_is_off_fails_the_claim_about_it(bundle: Path, tmp_path: Path) -> None:
    off = Check("wave", "fast", "values", "float32", "cpu", "N=4,D=8", "gradient of x", "wrong", 1e-3, 1e-6)
    refused = CaseStatus("wave", "fast", "wrong", "gradient of x", "gate", device="cpu")
    found = _reproduce(bundle, tmp_path / "id", _runs(extra=[off, refused]))
    assert _words(found)["all-correct"] == "failed"


def test_other_bits_fail_only_where_they_are_promised(bundle: Path, tmp_path: Path) -> None:
    found = _reproduce(bundle, tmp_path / "1", _runs(digest="other"), "fast-bits")
    assert found.tier.bits
    assert _words(found) == {"fast-bits": "failed"}
    trained = _reproduce(bundle, tmp_path / "3", _runs(weights="other"), "fast-bits")
    assert _words(trained) == {"fast-bits": "failed"}
    assert "fast at weights after 2 steps, float32" in trained.verdicts[0].why
    elsewhere = dataclasses.replace(HERE, environment={"kind": "environment", "torch": "3"})
    found = _reproduce(bundle, tmp_path / "2", _runs(digest="other"), "fast-bits", here=elsewhere)
    assert _words(found) == {"fast-bits": "held"}
    assert "not promised" in found.verdicts[0].why


def test_on_another_machine_only_the_threshold_counts(bundle: Path, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(HERE, machine=lambda salt: "another")
    slower = _runs(times={**TIMES, "fast": 1.1 * TIMES["fast"]})
    found = _reproduce(bundle, tmp_path / "1", slower, here=elsewhere)
    assert (found.tier.number, set(_words(found).values())) == (3, {"held"})
    none = _runs(times={**TIMES, "fast": TIMES["autograd"]})
    found = _reproduce(bundle, tmp_path / "2", none, here=elsewhere)
    assert (_words(found)["fast-twice"], _words(found)["fast-wins"]) == ("failed", "inconclusive")


@pytest.mark.parametrize(
    ("changed", "number", "why"),
    [
        ({}, 1, ""),
        ({"environment": {"torch": "2", "cpu": "other"}}, 4, "another cpu: None published, other here"),
        ({"environment": {"torch": "3"}}, 3, "another torch: 2 published, 3 here"),
        ({"machine": lambda salt: "x"}, 3, "not the same one"),
        ({"digests": {**DIGESTS, "wave/fast": "z"}}, 2, ""),
        ({"environment": {"torch": "2", "variables": {"MKL_CBWR": "AVX2"}}}, 2, "variable MKL_CBWR differs"),
    ],
)
def test_the_tier_and_why(bundle: Path, changed: dict[str, Any], number: int, why: str) -> None:
    here = dataclasses.replace(HERE, **changed)
    found = tier(read(bundle), here.environment, here.digests, here.machine)
    assert found.number == number
    assert why in " ".join(found.why)
    assert found.bits == (number == 1 or "same one" in why)


def test_a_run_that_does_not_know_its_machine_asks_for_less(tmp_path: Path) -> None:
    found = tier(run(tmp_path, machine=None), HERE.environment, DIGESTS, machine)
    assert (found.number, found.why) == (3, ("the run does not say which machine it was, only what kind",))


@pytest.mark.parametrize(
    ("claim", "here", "why"),
    [
        (dataclasses.replace(RATIO, threads=8), HERE, "needs 8 cores"),
        (
            RATIO,
            dataclasses.replace(HERE, digests={"wave": "a", "wave/autograd": "b"}),
            "no wave/fast: give its package",
        ),
        (RATIO, dataclasses.replace(HERE, digests={}), "no wave:"),
        (RATIO, dataclasses.replace(HERE, largest={"wave": {"N": 32, "D": 8}}), "N=64,D=8 is larger than any size"),
    ],
)
def test_what_cannot_be_asked_here_is_not_testable_and_nothing_runs(
    tmp_path: Path, claim: Claim, here: Here, why: str
) -> None:
    group = dataclasses.replace(GROUP, threads=claim.threads)
    folder = sealed(tmp_path / "run", (claim,), group=group)
    found = _reproduce(folder, tmp_path / "id", None, here=here)
    assert (_words(found), found.exit_code) == ({"fast-twice": "not_testable"}, 4)
    assert why in found.verdicts[0].why


def test_without_the_device_it_is_not_testable(tmp_path: Path) -> None:
    claim = dataclasses.replace(RATIO, device="cuda")
    folder = sealed(tmp_path / "run", (claim,), group=dataclasses.replace(GROUP, device="cuda"))
    found = _reproduce(folder, tmp_path / "id", None)
    assert (_words(found), found.exit_code) == ({"fast-twice": "not_testable"}, 4)
    assert found.verdicts[0].why == "no CUDA device is available here"


def test_errors_and_budgets_have_their_words(bundle: Path, tmp_path: Path) -> None:
    def dies(part: Part, folder: Path, seconds: float | None) -> Run:
        raise WorkerError("workers do not start")

    found = _reproduce(bundle, tmp_path / "1", dies, "fast-twice")
    assert (_words(found), found.exit_code) == ({"fast-twice": "error"}, 1)
    found = _reproduce(bundle, tmp_path / "2", None, "fast-twice", budget=1.0)
    assert (_words(found), found.exit_code) == ({"fast-twice": "not_testable"}, 4)
    assert "the budget has 0.0 left" in found.verdicts[0].why


def test_a_mode_asks_for_its_kinds_of_claims_alone(bundle: Path, tmp_path: Path) -> None:
    timing = _reproduce(bundle, tmp_path / "1", _runs(), mode="timing")
    numerics = _reproduce(bundle, tmp_path / "2", _runs(), mode="numerics")
    assert {v.claim.kind for v in timing.verdicts} == {"ratio", "winner"}
    assert {v.claim.kind for v in numerics.verdicts} == {"memory", "correct", "converges", "bits"}
    with pytest.raises(UsageError, match="none of these claims is of mode timing: it asks for ratio, winner"):
        _reproduce(bundle, tmp_path / "3", None, numerics.verdicts[0].claim.id, mode="timing")
    with pytest.raises(UsageError, match="unknown mode 'speed': choose from all, numerics, timing"):
        _reproduce(bundle, tmp_path / "4", None, mode="speed")


def test_a_changed_source_is_named_and_a_changed_bundle_refused(bundle: Path, tmp_path: Path) -> None:
    here = dataclasses.replace(HERE, digests={**DIGESTS, "wave/fast": "z", "wave/same": "y"})
    found = _reproduce(bundle, tmp_path / "1", _runs(), "fast-twice", here=here)
    assert found.changed == ("wave/fast",)
    assert "**The source here is not the bundle's: wave/fast.**" in pages.page(found)
    with pytest.raises(UsageError, match="no claim 'x': choose from fast-twice"):
        _reproduce(bundle, tmp_path / "2", _runs(), "x")
    broken = sealed(tmp_path / "run", (RATIO,))
    (broken / "packages.txt").write_text("x")
    with pytest.raises(BundleError, match="not as it was sealed"):
        _reproduce(broken, tmp_path / "3", _runs())


def test_only_what_the_claims_need_is_run(tmp_path: Path) -> None:
    made = run(tmp_path)
    (part,) = parts([RATIO], made)
    assert (part.dims, part.passes, part.strategies, part.level) == (
        ("N=64,D=8",),
        ("forward",),
        ("fast", "autograd"),
        "quick",
    )
    (part,) = parts(CLAIMS, made, 8)
    assert set(part.strategies) == {"autograd", "fast", "same"}
    assert (part.level, part.launches) == ("standard", 8)
    (part,) = parts([c for c in CLAIMS if c.kind == "correct"], made)
    wanted = part.wanted(3)
    assert (wanted.measure, wanted.passes, wanted.seed) == (False, (), 3)
    assert parts([BITS], made)[0].wanted(0).dims == ("N=64,D=8",)
    asked = {"strategies": list(TIMES), "layers": ["wave"], "scope": {"level": "quick"}, "seed": 0}
    (part,) = parts(CLAIMS, run(tmp_path / "quick", wanted=asked), 8)
    assert part.level == "quick"


def test_the_answer_is_written_as_json_and_as_a_page_without_markup_of_strangers(bundle: Path, tmp_path: Path) -> None:
    here = dataclasses.replace(HERE, environment={"torch": "2", "cpu": "<script>|\x1b[2J"})
    found = _reproduce(bundle, tmp_path / "id", _runs(), here=here)
    data, page = pages.write(found, tmp_path)
    answer = json.loads(data.read_text())
    assert answer == json.loads(json.dumps(as_fields(found)))
    assert {c["verdict"] for c in answer["claims"]} == {"held"}
    assert answer["tier"]["number"] == 4
    text = page.read_text()
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "| cpu | None |" in text
    assert all("\n" not in line for line in pages.lines(found))


def test_a_reproduction_is_outside_the_digests(bundle: Path) -> None:
    from harness.publish import manifest

    work = bundle / "reproductions" / "now"
    work.mkdir(parents=True, exist_ok=True)
    pages.write(_reproduce(bundle, work, _runs()), work.parent)
    assert not manifest.verify(bundle)[1]


def test_the_difference_of_two_bundles(bundle: Path, tmp_path: Path) -> None:
    same = difference(bundle, bundle)
    assert (same.environment, same.code, same.claims) == ((), (), ())
    claims = (dataclasses.replace(RATIO, threshold=1.2), *CLAIMS[2:])
    other = sealed(
        tmp_path / "other", claims, times={**TIMES, "fast": 1.2 * TIMES["fast"]}, digests={**DIGESTS, "wave/fast": "z"}
    )
    found = difference(bundle, other)
    assert found.code == ("wave/fast: another source",)
    assert any(line.startswith("fast-twice: threshold 1.5 → 1.2") for line in found.claims)
    assert "fast-wins: only in the first" in found.claims
    verdicts = dict(zip(found.results.rows["strategy"], found.results.rows["verdict"], strict=True))
    assert verdicts == {"fast": "slower", "same": "tie"}
