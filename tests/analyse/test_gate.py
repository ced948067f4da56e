"""What the gate found, from records: the worst of each combination, classes of determinism, failures to ask again."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analyse import frames, gate
from harness.records.gate import ControlResult
from harness.records.schema import SCHEMA, CellEnd, Check, Training
from harness.records.store import FILE, Journal, Run, read
from harness.report import tables

WANTED = {"layers": ["one"], "strategies": ["base", "other"], "baseline": "", "scope": {"checks": []}}
HEADER = {
    "kind": "run", "schema": SCHEMA, "wanted": WANTED, "baselines": {"one": "base"}, "devices": ["cpu"], "groups": [],
    "passes": ["forward"], "launches": 1, "sources": ["implementations", "mine"],
}  # fmt: skip


def _check(strategy: str, check: str, result: Any = "ok", **more: Any) -> Check:
    fields = {"dtype": "float32", "dims": "N=4,D=8", "tensor": "output", **more}
    return Check("one", strategy, check, fields.pop("dtype"), "cpu", fields.pop("dims"), fields.pop("tensor"), result, **fields)  # fmt: skip


def _run(folder: Path, *items: Any) -> Run:
    journal = Journal(folder)
    strategies = [
        {"kind": "strategy", "layer": "one", "strategy": name, "simplicity": number, "color": None, "marker": None, "dash": None}
        for number, name in enumerate(("base", "other"))
    ]  # fmt: skip
    layer = {
        "kind": "layer",
        "layer": "one",
        "task_title": "t",
        "task_naive": "zero",
        "naive_loss": 1.0,
        "target_loss": 0.1,
    }
    journal.write([HEADER, {"kind": "environment", "unknown": {}}, layer, *strategies, CellEnd(0.0)], "header")
    journal.write([*items, CellEnd(1.0)], "gate one/base cpu", 1)
    journal.close()
    return read(folder)


def test_the_matrix_shows_the_worst_and_says_why(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        _check("base", "compile", error=1.0, bound=4.0),
        _check("base", "compile", error=3.0, bound=4.0, detail="element 3 is 0.75 × its own bound"),
        _check("base", "jacrev", "limited", detail="NotImplementedError: no"),
        _check("base", "jacrev", error=1.0, bound=2.0),
        _check("base", "frozen", "wrong", error=8.0, bound=2.0, setting="for x"),
        _check("base", "frozen", "limited", detail="later"),
        _check("other", "double_backward", "wrong", error=8.0, bound=2.0, upstream="torch: lost"),
        _check("other", "copies", "not_applicable", detail="gradients don't go through the tape"),
        _check("other", "values", "wrong", error=8.0, bound=2.0),
    )
    found = {(r["strategy"], r["check"]): r for r in gate.matrix(run).to_dict("records")}
    assert {key: r["result"] for key, r in found.items()} == {
        ("base", "compile"): "ok", ("base", "jacrev"): "limited", ("base", "frozen"): "wrong",
        ("other", "double_backward"): "upstream", ("other", "copies"): "not_applicable",
    }  # fmt: skip
    assert found["base", "compile"]["worst"] == 0.75
    assert found["base", "compile"]["detail"] == ""
    assert found["base", "jacrev"]["detail"] == "NotImplementedError: no"
    assert found["base", "frozen"]["worst"] == 4.0
    assert found["other", "double_backward"]["detail"] == "torch: lost"

    shown = tables.matrix(gate.matrix(run)).set_index("strategy")
    assert shown.loc["base", "compile"] == "✓"
    assert shown.loc["base", "jacrev"] == "–"
    assert shown.loc["base", "frozen inputs"] == "✗ 4"
    assert shown.loc["other", "double backward"] == "✗ᵘ"
    assert shown.loc["other", "copies"] == "·"
    assert shown.loc["other", "compile"] == ""
    notes = tables.notes(gate.matrix(run))
    assert "– one/base jacrev: NotImplementedError: no" in notes
    assert "✗ᵘ one/other double backward: torch: lost" in notes


def test_what_imports_change_is_named(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        _check("base", "global_state", detail="changed by an import: torch.index_select"),
        _check("other", "global_state"),
    )
    lines = tables.changed_by_imports(gate.changed_by_imports(run))
    assert lines == ["~ one/base global_state: changed by an import: torch.index_select"]


def test_a_failure_comes_with_what_asks_for_it_again(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        _check("base", "layouts", "wrong", error=8.0, bound=2.0, seed=5, setting="transposed inputs"),
        _check("other", "double_backward", "wrong", error=8.0, bound=2.0, upstream="torch: lost"),
        _check("other", "values", "wrong", seed=8, detail="shape is (6, 5), not (7, 5)"),
    )
    failures = gate.failures(run, ["my folder"])
    assert list(failures["check"]) == ["layouts", "values"]
    assert failures.iloc[0]["again"] == (
        "python -m harness verify --layer one --strategy base --device cpu --check layouts --dtype float32"
        " --dims N=4,D=8 --seed 5 --from 'my folder'"
    )
    lines = tables.wrong(failures)
    assert "✗ one/base layouts: output, transposed inputs, float32, N=4,D=8, seed 5: error 8, bound 2" in lines[0]
    assert "seed 8 (shape is (6, 5), not (7, 5))" in lines[1]
    assert "--from mine" in gate.failures(run).iloc[0]["again"]


def test_determinism_has_a_class_for_each_tensor(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        _check("base", "repeats", detail="bitwise"),
        _check("base", "fresh_process", detail="within noise"),
        _check("other", "repeats", "wrong", detail="drifting"),
    )
    rows = gate.determinism(run).to_dict("records")
    assert [(r["strategy"], r["tensor"], r["repeats"]) for r in rows] == [
        ("base", "output", "bitwise"), ("other", "output", "drifting"),
    ]  # fmt: skip
    assert rows[0]["fresh_process"] == "within noise"
    assert list(tables.determinism(gate.determinism(run)).iloc[1])[-1] == "–"


def test_controls_and_counts(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        ControlResult("half", 20, "cpu", "values", "caught", "values: …"),
        ControlResult("tf32", 28, "cpu", "values", "not_run", "shows on a GPU only"),
        _check("base", "values"),
        _check("base", "double_backward", "wrong", upstream="torch: lost"),
    )
    assert list(gate.controls(run)["control"]) == ["half", "tf32"]
    assert gate.summary(run) == {"checks": {"ok": 1, "upstream": 1}, "controls": {"caught": 1, "not_run": 1}}


def test_an_error_without_bound_is_infinitely_wrong(tmp_path: Path) -> None:
    run = _run(tmp_path, _check("base", "empty", "wrong", error=math.inf, bound=0.0))
    (row,) = gate.matrix(run).to_dict("records")
    assert row["worst"] == math.inf
    assert tables.matrix(gate.matrix(run)).iloc[0]["empty batch"] == "✗ inf"


def test_what_is_wrong_in_pytorch_alone_keeps_a_strategy_in(tmp_path: Path) -> None:
    trained = Training(
        "one", "base", "float32", "cpu", "ok", 1, 1, [1.0, 0.1], [1.0, 0.1], 0.1, 0.0, 1.0, "", "equivalent"
    )
    run = _run(tmp_path, _check("base", "double_backward", "wrong", upstream="torch: lost"), trained)
    row = frames.gate(run).set_index("strategy").loc["base"]
    assert row["result"] == "ok"


@pytest.mark.parametrize("fields", [("setting", "upstream"), ("setting",), ()])
def test_records_from_before_a_field_was_added_are_read(tmp_path: Path, fields: tuple[str, ...]) -> None:
    """``setting`` and ``upstream`` of checks and ``verdict`` of training came later."""
    trained = Training("one", "base", "float32", "cpu", "ok", 1, 1, [1.0, 0.1], [1.0, 0.1], 0.1, 0.0, 1.0)
    _run(tmp_path, _check("base", "values", error=1.0, bound=2.0), _check("other", "compile", "wrong"), trained)
    lines = []
    for line in (tmp_path / FILE).read_text().splitlines():
        record = json.loads(line)
        if record["kind"] in ("check", "training"):
            record = {k: v for k, v in record.items() if k not in {"setting", "upstream", "verdict"} - set(fields)}
        lines.append(json.dumps(record))
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")
    run = read(tmp_path)
    assert list(gate.matrix(run)["result"]) == ["wrong"]
    assert list(gate.failures(run)["setting"]) == [""]
    written = {p.name for p in tables.write_all(run, tmp_path / "tables")}
    assert {"gate.md", "matrix.md", "correctness.md", "training.md"} <= written


def test_without_any_check_there_are_empty_frames(tmp_path: Path) -> None:
    run = _run(tmp_path)
    for frame in (gate.matrix(run), gate.determinism(run), gate.controls(run), gate.failures(run)):
        assert frame.empty
    assert gate.summary(run) == {"checks": {}, "controls": {}}
    assert tables.matrix(gate.matrix(run)).empty


def test_only_what_was_asked_for_is_judged(tmp_path: Path) -> None:
    run = _run(tmp_path, _check("base", "values"), _check("other", "values"))
    assert list(gate.judged(run)["strategy"]) == ["base", "other"]
    run.of("run")[0]["wanted"]["strategies"] = ["other"]  # the baseline is then there for the other's sake only
    assert set(frames.gate(run)["strategy"]) == {"base", "other"}
    assert list(gate.judged(run)["strategy"]) == ["other"]


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        (["ok"], "passed"),
        (["ok", "unsupported", "skipped"], "passed"),
        (["ok", "wrong"], "failed"),
        (["ok", "crashed"], "failed"),
        (["ok", "not_run"], "failed"),
        (["not_run", "not_run"], "nothing"),
        (["unsupported", "skipped"], "nothing"),
        ([], "nothing"),
    ],
)
def test_all_rows_of_the_gate_come_to_one_outcome(results: list[str], outcome: str) -> None:
    assert gate.outcome(pd.DataFrame({"result": results}, dtype=object)) == outcome
