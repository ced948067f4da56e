"""Strategies that raise, kill, hang, leave, chatter or lie cost their own cells and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PACKAGES, Cli

RUN = ("bench", "--profile", "quick", "--device", "cpu", "--layer", "scale", "--launches", "2", "--timeout", "15")


@pytest.fixture(scope="module")
def hostile(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("hostile") / "run"
    done = cli(*RUN, "--from", PACKAGES / "hostile", "--out", out, "--json", timeout=600)
    assert done.returncode == 1, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "out": out, "stderr": done.stderr}


def _status(run: dict[str, Any], strategy: str) -> tuple[str, str]:
    rows = {(r["status"], r["reason"]) for r in run["timing"] if r["strategy"] == strategy}
    assert len(rows) == 1, rows
    return rows.pop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("strategy", "status", "reason"),
    [
        ("raises", "runtime_error", "ValueError: this strategy always raises"),
        ("aborts", "crashed", "killed by signal 6 (SIGABRT) in: values float64 N=3,D=5"),
        ("aborts_later", "crashed", "killed by signal 6 (SIGABRT) in: first call and warm-up"),
        ("sleeps", "timeout", "no sign of life for 15 s in: values float64 N=3,D=5"),
        ("exits", "crashed", "ended with exit code 0 in: values float64 N=3,D=5"),
        ("forges", "crashed", "wrote into the pipe of the harness in: "),
        ("nan_in_training", "wrong", "training: "),
        ("half_only", "unsupported", "does not claim float32"),
        ("wrong_gradient", "wrong", "values: gradient of weight, float64, N=3,D=5, seed 0: error"),
        ("no_gradient", "wrong", "no gradient reached weight"),
        ("wrong_dtype", "wrong", "dtype is torch.float32, not torch.float64"),
        ("out_of_memory", "oom", "can't allocate memory"),
        ("broken_import", "runtime_error", "broken_import.py:5: NameError"),
        ("missing_package", "unsupported", "No module named 'a_package_that_nobody_has'"),
        ("no_strategy", "runtime_error", "must define `strategy = Strategy(...)`"),
    ],
)
def test_it_gets_its_status(hostile: dict[str, Any], strategy: str, status: str, reason: str) -> None:
    found = _status(hostile, strategy)
    assert found[0] == status
    assert reason in found[1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["autograd", "module", "chatty"])
def test_the_others_have_results(hostile: dict[str, Any], strategy: str) -> None:
    rows = [r for r in hostile["timing"] if r["strategy"] == strategy]
    assert {r["pass"] for r in rows} == {"forward", "forward_backward"}
    assert all(r["status"] == "ok" and r["launches"] == 2 and r["latency"] > 0 for r in rows)
    assert strategy == "autograd" or {r["verdict"] for r in rows} == {"inconclusive"}


@pytest.mark.timeout(600)
def test_nothing_that_a_strategy_prints_gets_into_the_records(hostile: dict[str, Any]) -> None:
    assert "forgery" not in (hostile["out"] / "records.jsonl").read_text()
    assert "forged" not in (hostile["out"] / "records.jsonl").read_text()


@pytest.mark.timeout(600)
def test_strategies_without_a_style_are_drawn(hostile: dict[str, Any]) -> None:
    plots = {p.name for p in (hostile["out"] / "plots").iterdir()}
    assert {"speedup-scale.svg", "latency-scale.png", "memory-scale.svg", "training-scale.svg"} <= plots
    assert "module" in (hostile["out"] / "tables" / "timing-scale.md").read_text()


@pytest.mark.timeout(600)
def test_no_traceback_reaches_the_user(hostile: dict[str, Any]) -> None:
    assert "Traceback" not in hostile["stderr"]


def test_a_file_that_kills_whoever_imports_it_is_named(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "verify", "--check", "values", "--device", "cpu", "--layer", "scale", "--from", PACKAGES / "crashing", "--json",
    )  # fmt: skip
    assert done.returncode == 1
    gate = {r["strategy"]: r for r in json.loads(done.stdout)["gate"]}
    assert gate["autograd"]["result"] == "ok"
    assert gate["kills_on_import"]["result"] == "runtime_error"
    assert "ended or hung the process when it was imported" in gate["kills_on_import"]["reason"]
