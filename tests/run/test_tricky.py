"""Strategies that would deceive the gate: what it sees through, and what no gate of this kind can see."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PACKAGES, Cli

CHANGED_BY_IMPORTS = {
    "wraps_index_select": "torch.index_select",
    "draws_on_import": "torch.get_rng_state()",
    "sets_seed": "torch.get_rng_state(), torch.initial_seed()",
}
CHECKS = ("values", "untouched", "updated", "accumulation", "frozen", "repeats", "global_state", "settled", "training")


@pytest.fixture(scope="module")
def verified(cli: Cli) -> dict[str, Any]:
    checks = [word for check in CHECKS for word in ("--check", check)]
    options = ("--device", "cpu", "--layer", "wave", "--from", PACKAGES / "tricky", "--timeout", "60", *checks)
    done = cli("verify", *options, "--json", timeout=280)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _row(verified: dict[str, Any], strategy: str) -> dict[str, Any]:
    (row,) = [r for r in verified["gate"] if r["strategy"] == strategy]
    return row  # type: ignore[no-any-return]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("strategy", "status", "reason"),
    [
        ("cached_by_address", "wrong", ": output"),
        ("cached_by_shape", "wrong", "values: output"),
        ("right_for_one_probe", "wrong", "updated: output"),
        ("right_once", "wrong", "values: output"),
        ("overwrites_inputs", "wrong", "untouched: x, float64, N=5,D=7, seed 0 (was written over)"),
        ("patches_comparisons", "wrong", "values: output"),
        ("patches_grad", "wrong", "accumulation: accumulated gradient of weight"),
        ("patches_clock", "wrong", "global_state: time."),
        ("patches_events", "wrong", "global_state: torch.cuda.Event.elapsed_time"),
        ("patches_judge", "wrong", "values: output"),
        ("sets_default_dtype", "wrong", "global_state: torch.get_default_dtype()"),
        ("sets_deterministic", "wrong", "global_state: torch.are_deterministic_algorithms_enabled()"),
        ("sets_grad_off", "wrong", "the output is cut off the tape"),
        ("forges_replies", "wrong", "values: output"),
        ("garbles_replies", "crashed", "wrote into the pipe of the harness in: values"),
        ("answers_oddly", "crashed", "values"),
        ("answers_nothing", "wrong", "values"),
        ("sets_threads", "wrong", "global_state: torch.get_num_threads()"),
    ],
)  # fmt: skip
def test_it_is_refused(verified: dict[str, Any], strategy: str, status: str, reason: str) -> None:
    row = _row(verified, strategy)
    assert row["result"] == status, row
    assert reason in row["reason"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["autograd", "by_hand", "module", *CHANGED_BY_IMPORTS])
def test_sound_strategies_beside_them_pass(verified: dict[str, Any], strategy: str) -> None:
    assert _row(verified, strategy)["result"] == "ok"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", CHANGED_BY_IMPORTS)
def test_what_an_import_changes_is_named(verified: dict[str, Any], strategy: str) -> None:
    (check,) = [c for c in verified["checks"] if (c["strategy"], c["check"]) == (strategy, "global_state")]
    assert check["detail"] == f"changed by an import: {CHANGED_BY_IMPORTS[strategy]}"


@pytest.mark.timeout(300)
def test_the_gate_judges_what_it_is_shown(verified: dict[str, Any]) -> None:
    """Whoever looks up the stack for the gate and is right only there passes: nothing that the gate asks can tell."""
    assert _row(verified, "right_in_the_gate")["result"] == "ok"


@pytest.mark.timeout(300)
def test_each_wrong_answer_comes_with_the_command_that_asks_for_it_again(verified: dict[str, Any]) -> None:
    wrong = {f["strategy"] for f in verified["failures"]}
    assert wrong >= {"cached_by_shape", "patches_judge", "right_once"}
    for failure in verified["failures"]:
        assert f"--strategy {failure['strategy']}" in failure["again"]
        assert f"--check {failure['check']}" in failure["again"]
        assert f"--from {PACKAGES / 'tricky'}" in failure["again"]


@pytest.mark.timeout(600)
def test_who_stops_the_meters_clock_is_named_and_the_others_are_timed(cli: Cli, tmp_path: Path) -> None:
    chosen = (
        "--strategy",
        "patches_the_meter",
        "--strategy",
        "by_hand",
        "--launches",
        "1",
        "--device",
        "cpu",
        "--json",
    )
    done = cli(
        "bench",
        "--profile",
        "quick",
        "--from",
        PACKAGES / "tricky",
        "--layer",
        "wave",
        "--out",
        tmp_path / "run",
        *chosen,
    )
    rows = {r["strategy"]: r for r in json.loads(done.stdout)["timing"] if r["pass"] == "forward"}
    assert rows["patches_the_meter"]["status"] == "wrong"
    assert "harness.measure.clock.perf_counter_ns was changed" in rows["patches_the_meter"]["reason"]
    assert rows["by_hand"]["status"] == "ok"


@pytest.mark.timeout(600)
def test_what_is_right_for_the_gate_alone_is_found_where_it_was_timed(cli: Cli, tmp_path: Path) -> None:
    asked = ("--layer", "wave", "--strategy", "right_in_the_gate", "--launches", "1", "--device", "cpu", "--json")
    done = cli("bench", "--profile", "quick", "--from", PACKAGES / "tricky", "--out", tmp_path / "run", *asked)
    rows = [r for r in json.loads(done.stdout)["timing"] if r["strategy"] == "right_in_the_gate"]
    assert rows
    assert all(r["status"] == "wrong" and r["reason"].startswith("wrong where it was timed: ") for r in rows), rows
