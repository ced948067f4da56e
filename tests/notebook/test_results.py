"""What a run shows of itself in a notebook: the tables' own frames, figures, answers, and nothing unescaped."""

import json
from pathlib import Path

import pandas as pd
import pytest

from harness.analyse.choose import QuestionError
from harness.analyse.sizes import OutsideError
from harness.notebook import Run, Verified, compare, load
from harness.records.store import StoreError, read
from harness.report import tables
from tests.analyse import made_up
from tests.analyse.recorded import check, records, write

TIMES = {"N=16,D=16": {"plain": 1e-3, "shelf": 1.3e-3, "made": 0.5e-3}, "N=64,D=64": {"plain": 4e-3, "made": 1e-3}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    held = {"plain": 4096, "shelf": 2048, "made": 8192, "hand": 1}
    first = {"plain": 0.1, "shelf": 0.1, "made": 5.0}
    wrong = check("hand", "values", "wrong", error=3.0, detail="off by <one>")
    items = records(
        TIMES, held=held, first=first, failed={"hand": "values: output"}, checks=[check("plain", "values"), wrong]
    )
    return load(write(tmp_path_factory.mktemp("run"), items))


def test_frames_are_those_that_tables_are_made_from(run: Run, tmp_path: Path) -> None:
    tables.write_all(run.records, tmp_path)
    for name, frame in (
        ("timing-one", run.timing), ("memory", run.memory), ("gate", run.gate), ("decision", run.decision),
        ("noise", run.noise), ("first_call", run.first_calls), ("break_even", run.break_even),
        ("correctness", run.correctness), ("environment", run.environment),
    ):  # fmt: skip
        frame.to_csv(tmp_path / "mine.csv", index=False)
        written, mine = (pd.read_csv(tmp_path / f"{which}.csv") for which in (name, "mine"))
        assert len(frame)
        pd.testing.assert_frame_equal(written, mine)


def test_its_view_has_the_main_table_and_escapes_it(run: Run, tmp_path: Path) -> None:
    html = run._repr_html_()
    assert html.count("<table") == 1
    assert "speed-up" in html
    items = records({"N=16,D=16": {"plain": 1e-3}}, failed={"hand": "<script>alert(1)</script>"})
    strange = load(write(tmp_path, items))._repr_html_()
    assert "<script>" not in strange
    assert "&lt;script&gt;alert(1)" in strange
    assert "| N=16,D=16" in repr(run)


@pytest.mark.parametrize("name", ["speedup", "decision", "memory", "training", "break-even", "ratio"])
def test_a_plot_is_a_figure_that_shows_itself(run: Run, name: str) -> None:
    figure = run.plot(name)
    assert figure.axes
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_plot_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(QuestionError, match=r"unknown plot 'speed': choose from decision, speedup"):
        run.plot("speed")
    with pytest.raises(QuestionError, match=r"no layer 'two': choose from one"):
        run.plot(layer="two")


def test_a_run_of_the_gate_alone_has_no_speed_to_draw(tmp_path: Path) -> None:
    gate_only = load(write(tmp_path, records({}, checks=[check("plain", "values")])))
    with pytest.raises(QuestionError, match="nothing to draw speedup of one from"):
        gate_only.plot("speedup")
    with pytest.raises(QuestionError, match="holds no timing"):
        gate_only.choose("one")


def test_choose_gives_the_answer_with_its_words(run: Run) -> None:
    choice = run.choose("one", dims="N=16,D=16")
    assert (choice.pick, choice.settled) == ("made", True)
    assert repr(choice).startswith("Use made for one at N=16,D=16")
    assert "Use made" in choice._repr_html_()
    assert list(choice.frame["strategy"]) == ["made", "plain", "shelf"]
    assert run.choose("one", dims="N=16,D=16", objective="memory").pick == "shelf"
    assert run.choose("one", dims="N=16,D=16", max_memory=3000).pick == "shelf"


def test_questions_that_cannot_be_answered_are_exceptions_with_one_line(run: Run) -> None:
    with pytest.raises(QuestionError, match="no layer 'two': choose from one"):
        run.choose("two")
    with pytest.raises(QuestionError, match="unknown objective 'fun': choose from latency, memory, first_step"):
        run.choose("one", objective="fun")  # type: ignore[arg-type]
    with pytest.raises(OutsideError):
        run.choose("one", dims="N=4096,D=4096")
    with pytest.raises(StoreError, match=r"holds no records\.jsonl: give the folder of a run"):
        load("no/such/run")


def test_what_failed_the_gate_is_a_line_with_its_command(run: Run) -> None:
    found = Verified(run.records, ("kernels/",))
    assert not found.ok
    (line,) = [line for line in found.problems if "✗" in line]
    assert line.startswith("✗ one/hand values: output, float32, N=4,D=4, seed 0: error 3, bound 2 (off by <one>)\n")
    assert line.endswith("--dtype float32 --dims N=4,D=4 --seed 0 --from kernels/")
    assert "off by &lt;one&gt;" in found._repr_html_()
    assert len(found.frame) == 2


def test_a_gate_that_misses_a_planted_fault_is_not_ok(tmp_path: Path) -> None:
    missed = {
        "kind": "control",
        "control": "a flipped sign",
        "fault": 1,
        "device": "cpu",
        "check": "values",
        "result": "missed",
        "detail": "",
    }
    fine = Verified(read(write(tmp_path / "a", records({}))), ())
    blind = Verified(read(write(tmp_path / "b", [*records({}), missed])), ())
    assert (fine.ok, fine.problems) == (True, [])
    assert not blind.ok
    assert blind.problems == ["the gate is blind: a flipped sign went through, so its word counts for nothing"]


def test_two_runs_are_compared(tmp_path: Path) -> None:
    made_up.run_of(tmp_path / "a", {"autograd": 1e-3, "fast": 1e-3}, seed=1)
    made_up.run_of(tmp_path / "b", {"autograd": 1e-3, "fast": 2e-3}, seed=2)
    changes = compare(tmp_path / "a", load(tmp_path / "b"))
    assert list(changes.slower["strategy"]) == ["fast"]
    assert "slower" in changes._repr_html_()
    assert "slower" in repr(changes)


def test_write_makes_the_page_and_its_tables(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "records.jsonl").write_bytes((run.folder / "records.jsonl").read_bytes())
    page = load(folder).write()
    assert "one" in page.read_text()
    assert (folder / "tables" / "timing-one.csv").exists()
    assert json.loads((folder / "pytest-benchmark.json").read_text())["benchmarks"]
