"""Records of earlier schemas are read as those of today."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.publish import claims as claiming
from harness.publish.claims import ClaimError
from harness.records.modes import KNOWN_PASSES, MODES, OLDER_MODES, PASSES
from harness.records.older import upgraded, upgraded_claim
from harness.records.store import FILE, read
from tests.analyse.recorded import SIZES, records, write
from tests.conftest import Cli

LOSS = "step_with_loss"
TIMES = {SIZES[0]: {"plain": 4e-4, "made": 1e-4}}


def of_schema_1(folder: Path, first: dict[str, float] | None = None) -> Path:
    """A run as the first version wrote it, whose step had the loss in it."""
    items = records(
        TIMES, passes=("forward", "forward_backward", "step"), held={"plain": 4096, "made": 64}, first=first
    )
    items[0] |= {"schema": 1}
    items[0]["groups"] = [{**g, "passes": ["forward", "forward_backward", "step"]} for g in items[0]["groups"]]
    items[0]["wanted"] |= {"passes": ["step"]}
    return write(folder, items)


def test_a_clean_error_of_schema_1_is_a_limit() -> None:
    check = {"kind": "check", "result": "unsupported"}
    assert upgraded(check, 1)["result"] == "limited"
    assert upgraded({"kind": "status", "status": "unsupported"}, 1)["status"] == "unsupported"


def test_every_pass_that_is_read_has_one_definition() -> None:
    assert set(KNOWN_PASSES) == {*PASSES, *OLDER_MODES}
    assert set(MODES) == set(PASSES)


@pytest.mark.parametrize("kind", ["samples", "rounds", "second_look", "work", "status"])
def test_a_step_of_schema_1_has_the_loss_in_it(kind: str) -> None:
    record = {"kind": kind, "pass": "step", "cell": "time one N=1 float32 cpu 2 threads step launch 3"}
    found = upgraded(record, 1)
    assert (found["pass"], found["cell"]) == (LOSS, "time one N=1 float32 cpu 2 threads step_with_loss launch 3")
    assert upgraded(record, 2) == record
    assert upgraded({**record, "pass": ["step"]}, 1)["pass"] == ["step"]  # odd ones are left for who checks them


def test_the_header_and_the_memory_of_schema_1_say_so_too(tmp_path: Path) -> None:
    run = read(of_schema_1(tmp_path))
    header = run.of("run")[0]
    assert run.schema == 1
    assert header["passes"] == ["forward", "forward_backward", LOSS]
    assert header["groups"][0]["passes"] == header["passes"]
    assert header["wanted"]["passes"] == [LOSS]
    assert {"forward": MODES["forward"], **OLDER_MODES}.items() <= header["modes"].items()
    assert "step" not in header["modes"]
    assert all("step_peak" not in r and r["step_with_loss_peak"] >= 64 for r in run.of("memory"))


def test_a_run_of_schema_1_is_read_by_every_command(tmp_path: Path, cli: Cli) -> None:
    folder = str(of_schema_1(tmp_path, first={"plain": 0.1, "made": 1.0, "shelf": 0.1, "hand": 0.1}))
    assert cli("report", folder).returncode == 0
    table = (tmp_path / "tables" / "memory.md").read_text()
    assert "peak of a step with loss" in table
    assert "step_with_loss_peak" in (tmp_path / "tables" / "memory.csv").read_text()
    asked = ("choose", folder, "--layer", "one", "--json")
    answer = json.loads(cli(*asked, "--pass", LOSS).stdout)
    assert answer["pick"] == "made"
    assert json.loads(cli(*asked, "--steps", "1000").stdout)["question"]["pass"] == "forward_backward"
    refused = cli(*asked, "--pass", "step")
    assert (refused.returncode, refused.stderr) == (
        2, f"layerbench: this run has no pass 'step': choose from forward, forward_backward, {LOSS}\n",
    )  # fmt: skip


def test_old_and_new_steps_are_never_held_against_each_other(tmp_path: Path, cli: Cli) -> None:
    before = of_schema_1(tmp_path / "a")
    after = write(tmp_path / "b", records(TIMES, passes=("forward", "step")))
    done = cli("compare", str(before), str(after), "--json")
    steps = {(c["pass"], c["verdict"], c["reason"]) for c in json.loads(done.stdout)["cases"] if "step" in c["pass"]}
    assert steps == {
        (LOSS, "missing", "not measured in the run after"), ("step", "missing", "not measured in the run before"),
    }  # fmt: skip


def test_an_unfinished_run_of_schema_1_is_not_gone_on_with(tmp_path: Path, cli: Cli) -> None:
    items = records(TIMES, passes=("step",))
    lines = [{"cell": "header", "attempt": 1, **items[0], "schema": 1}]
    lines.append({"kind": "cell", "cell": "header", "attempt": 1, "seconds": 0})
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = cli("bench", "--resume", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "has records of schema 1, not 2: start a new run" in done.stderr


@pytest.mark.parametrize(("field", "old"), [("pass", "step"), ("quantity", "step_peak")])
def test_a_claim_on_a_step_is_about_the_step_of_its_run(tmp_path: Path, field: str, old: str) -> None:
    kind = "memory" if field == "quantity" else "ratio"
    table = {"id": "a", "kind": kind, "layer": "one", "strategy": "made", "against": "plain", field: old}
    path = tmp_path / "claims.toml"

    def said(fields: dict[str, Any]) -> str:
        path.write_text("[[claim]]\n" + "".join(f'{k} = "{v}"\n' for k, v in fields.items()))
        (claim,) = claiming.read_toml(path, 1)
        return claim.passed or claim.quantity

    assert said(table) == upgraded_claim(table, 1)[field] != old
    assert said({**table, field: upgraded_claim(table, 1)[field]}) == upgraded_claim(table, 1)[field]
    with pytest.raises(ClaimError, match="was measured by earlier versions only"):
        claiming.read_toml(path)
