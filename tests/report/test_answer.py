"""The answer in words: the sentence carries margin, interval and doubt; JSON holds the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.choose import choose
from harness.analyse.contending import Question
from harness.report import answer as words
from tests.analyse.recorded import SIZES, have, records, write
from tests.conftest import Cli

ONE = SIZES[1]
FAST = {"plain": 4.0e-4, "shelf": 3.0e-4, "made": 2.0e-4, "hand": 1.0e-4}


def _sentence(folder: Path, times: Any, question: Question | None = None, **more: Any) -> str:
    times = times if "=" in next(iter(times)) else {ONE: times}
    return words.sentence(choose(have(folder, times, **more), question or Question("one")))


def test_a_clear_pick_has_its_margin_and_interval(tmp_path: Path) -> None:
    said = _sentence(tmp_path, FAST)
    assert said.startswith(f"Use hand for one at {ONE}, float32, cpu, 1 thread, forward + backward: 100")
    number = r"\d\.\d+"
    interval = rf"{number}× \({number}–{number}\)"
    assert re.search(
        rf"{interval} as fast as the baseline plain\. Clear: the next, made, takes {interval} as long\.$", said
    )


def test_a_crossing_leaves_options_as_they_are() -> None:
    assert words.crossing("N=16,flag=0,D=64", "N=64,flag=0,D=64", 0.5) == "N≈32,D≈64,flag=0"


def test_a_tie_names_the_band_and_the_rule(tmp_path: Path) -> None:
    said = _sentence(tmp_path, {"plain": 1.0e-4, "hand": 1.001e-4})
    assert said.startswith("Use plain for one")
    assert "A tie with hand (takes 1.00" in said
    assert "tie band ±2.0 %; it is the simplest of them." in said


def test_doubt_is_in_the_sentence_itself(tmp_path: Path) -> None:
    said = _sentence(tmp_path, {"plain": 2.0e-4, "hand": 1.0e-4}, launches=4)
    assert "Not settled: plain (takes 2.0" in said


def test_interpolation_is_in_the_sentence_itself(tmp_path: Path) -> None:
    times = {SIZES[0]: {"plain": 2e-5, "hand": 1e-5}, SIZES[2]: {"plain": 2e-3, "hand": 1e-3}}
    said = _sentence(tmp_path, times, Question("one", dims=ONE))
    assert ": about 100" in said
    assert "(interpolated). Clear" in said
    times[SIZES[0]] = {"plain": 1e-5, "hand": 1.5e-5}
    said = _sentence(tmp_path / "2", times, Question("one", dims=ONE))
    assert f"(interpolated). Not settled: measured, it is plain at {SIZES[0]}." in said


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 0, "Use hand for one"),
        (("--require", "no_gpu", "--max-memory", "3KB"), 1, "No strategy for one"),
        (("--dims", "N=999,D=999"), 3, "lies outside of what was measured"),
        (("--layer", "two"), 2, "this run has no layer 'two'"),
        (("--require", "speed"), 2, "unknown requirement 'speed'"),
        (("--max-memory", "lots"), 2, "give bytes such as 512MB"),
        (("--max-memory", "1.5KiB", "--objective", "memory"), 0, "Use shelf"),
    ],
)
def test_the_command_answers_with_its_exit_code(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    held = {"plain": 4000, "shelf": 1000, "made": 4000, "hand": 8000} if code != 1 else dict.fromkeys(FAST, 9000)
    folder = write(tmp_path / "run", records({ONE: FAST}, held=held))
    done = cli("choose", folder, "--layer", "one", *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_not_settled_is_exit_3_and_nothing_measured_4(cli: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "few", records({ONE: FAST}, launches=2))
    done = cli("choose", folder, "--layer", "one")
    assert (done.returncode, done.stdout.startswith("Use hand")) == (3, True)
    none = [r for r in records({ONE: FAST}) if r["kind"] != "samples"]
    assert cli("choose", write(tmp_path / "none", none), "--layer", "one").returncode == 4


def test_json_is_strict_and_says_the_same(cli: Cli, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", records({ONE: {"plain": 2e-4, "hand": 1e-4}}))
    done = cli("choose", folder, "--layer", "one", "--json")

    def refuse(name: str) -> Any:
        raise ValueError(name)

    found = json.loads(done.stdout, parse_constant=refuse)
    assert (found["pick"], found["confidence"], found["settled"]) == ("hand", "clear", True)
    assert found["question"]["pass"] == "forward_backward"
    assert found["standings"]["hand"]["held"] is None
    low, high = (found["ranking"]["against"]["plain"][k] for k in ("low", "high"))
    assert low <= 2 <= high
