"""The pytest plugin: light to load, of no effect on those who don't use it, and clear when a strategy falls behind."""

import fcntl
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.analyse.limit import Limited, limited
from harness.layers.discover import SourceError
from harness.notebook import Verified
from harness.records.schema import CaseStatus
from harness.records.store import Run, read
from harness.run import pair
from harness.run.wanted import UsageError, Wanted
from harness.testing.layerbench import Layerbench, conclude
from tests.analyse import recorded
from tests.analyse.made_up import GROUP, header, run_of, strategy, write
from tests.analyse.recorded import ORDER
from tests.conftest import PACKAGES, ROOT

pytest_plugins = ["pytester"]

LOADED = ("-p", "no:layerbench", "-p", "harness.testing.plugin")
"""The plugin by its module, so that it is the same whether or not the project is installed."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of its own, with the plugin at hand."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["layerbench"])
    assert plugin.__name__ == LOADED[-1]
    assert hasattr(plugin, "layerbench")


def test_loading_it_loads_nothing_heavy() -> None:
    code = f"import sys, {LOADED[-1]}; print(*{{'torch', 'pandas', 'numpy', 'matplotlib', 'scipy', 'rich'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    "others",
    [("-p", "no:xdist", "-p", "no:benchmark"), ("-p", "no:xdist"), ("-p", "no:benchmark", "-n", "1")],
    ids=["alone", "with pytest-benchmark", "with pytest-xdist"],
)
def test_it_changes_nothing_for_those_who_do_not_use_it(suite: pytest.Pytester, others: tuple[str, ...]) -> None:
    if "-n" in others:
        pytest.importorskip("xdist")
    suite.makepyfile("import sys\n\ndef test_plain():\n    assert 'torch' not in sys.modules\n")
    found = suite.runpytest_subprocess(*LOADED, *others)
    found.assert_outcomes(passed=1)


def test_a_wrong_strategy_fails_with_the_gate_s_line_and_its_command(suite: pytest.Pytester) -> None:
    suite.makepyfile(f"""
        def test_right_and_wrong(layerbench):
            which = dict(from_={str(PACKAGES / "hostile")!r}, check="values", dtype="float64", device="cpu")
            layerbench.agrees("scale", ["module", "wrong_gradient"], **which)
    """)
    found = suite.runpytest_subprocess(*LOADED, "-p", "no:xdist", "-p", "no:benchmark")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines([
        "E *AssertionError: ✗ scale/wrong_gradient values: gradient of weight, float64, N=3,D=5, seed 0: error *, bound *",
        "E *python -m harness verify --layer scale --strategy wrong_gradient --device cpu --check values --dtype float64 *",
    ])  # fmt: skip
    found.stdout.no_fnmatch_line("*harness/testing/layerbench.py*")


@pytest.mark.parametrize(
    ("statuses", "missed", "outcome", "text"),
    [
        ({}, False, "pass", ""),
        ({"hand": "unsupported"}, False, "skip", "one/hand: unsupported: a reason"),
        ({"hand": "unsupported", "made": "wrong"}, False, "fail", "one/made: wrong: a reason"),
        ({"hand": "crashed"}, False, "fail", "one/hand: crashed: a reason"),
        ({}, True, "fail", "the gate is blind: a flipped sign went through"),
        (dict.fromkeys(ORDER, "unsupported"), True, "fail", "the gate is blind"),
        (dict.fromkeys(ORDER, "unsupported"), False, "skip", "one/plain: unsupported: a reason"),
    ],
)
def test_agrees_passes_only_where_all_was_judged(
    bench: Layerbench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    statuses: dict[str, str],
    missed: bool,
    outcome: str,
    text: str,
) -> None:
    where = {"stage": "gate", "dims": "", "dtype": "", "device": "cpu", "threads": 0, "pass": ""}
    items = [*recorded.records({}), *(
        {"kind": "status", "layer": "one", "strategy": s, "status": word, "reason": "a reason", **where} for s, word in statuses.items()
    )]  # fmt: skip
    if missed:
        items.append({"kind": "control", "control": "a flipped sign", "fault": 1, "device": "cpu", "check": "values", "result": "missed", "detail": ""})  # fmt: skip
    found = Verified(read(recorded.write(tmp_path / "run", items)), ())
    monkeypatch.setattr("harness.testing.layerbench.verify", lambda **_: found)
    if outcome == "pass":
        assert bench.agrees("one", "hand") is found
    else:
        with pytest.raises(pytest.skip.Exception if outcome == "skip" else AssertionError, match=text):
            bench.agrees("one", "hand")


def _found(verdict: str = "held", low: float = 0.98, high: float = 1.02, why: str = "", launches: int = 8) -> Limited:
    return Limited(GROUP, "forward", (low + high) / 2, low, high, 0.02, launches, verdict, why)  # type: ignore[arg-type]


def test_all_that_is_held_passes() -> None:
    conclude(
        [_found(), _found("not_testable", why="fast: skipped: a reason", launches=0)], "fast", "slow", 1.05, "skip", ""
    )


def test_what_is_slower_fails_with_its_interval() -> None:
    with pytest.raises(AssertionError) as error:
        conclude([_found("failed", 1.10, 1.14), _found()], "fast", "slow", 1.05, "skip", "records: there")
    assert str(error.value).splitlines() == [
        "wave/fast at N=64,D=8, float32, cpu, forward: takes 1.120× (1.100–1.140) as long as slow; 1.05× is allowed "
        "(8 launches, tie band ±2.0 %)",
        "records: there",
    ]


def test_what_breaks_fails_with_the_reason() -> None:
    with pytest.raises(AssertionError, match="forward: fast: crashed: killed by signal 9"):
        conclude(
            [_found("error", why="fast: crashed: killed by signal 9", launches=0)], "fast", "slow", 1.05, "skip", ""
        )


def test_what_is_inconclusive_is_skipped_or_fails_as_asked() -> None:
    found = [_found("inconclusive", 0.9, 1.3, "more launches may tell")]
    with pytest.raises(
        pytest.skip.Exception, match=r"inconclusive: wave/fast .* takes 1\.10× .*: more launches may tell"
    ):
        conclude(found, "fast", "slow", 1.05, "skip", "")
    with pytest.raises(AssertionError, match=r"takes 1\.10× .*: more launches may tell"):
        conclude(found, "fast", "slow", 1.05, "fail", "")


def test_what_cannot_run_here_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="fast: skipped: runs on cuda only"):
        conclude(
            [_found("not_testable", why="fast: skipped: runs on cuda only", launches=0)],
            "fast",
            "slow",
            1.05,
            "fail",
            "",
        )


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Layerbench:
    """The fixture of a suite whose root has a folder of kernels."""
    (tmp_path / "kernels").mkdir()
    return Layerbench(tmp_path, tmp_path_factory)


def _recorded(monkeypatch: pytest.MonkeyPatch, run: Run) -> SimpleNamespace:
    """Records instead of launches; gives what was asked for."""
    asked = SimpleNamespace()

    def launch(wanted: Wanted, sources: tuple[str, ...], folder: Path, timeout: float) -> Run:
        asked.wanted, asked.sources, asked.folder = wanted, sources, folder
        return run

    monkeypatch.setattr(pair, "launch", launch)
    return asked


@pytest.mark.parametrize(("seconds", "outcome"), [(1e-3, ""), (1.05e-3, "skip"), (1.3e-3, "fail")])
def test_not_slower_by_recorded_samples(
    bench: Layerbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float, outcome: str
) -> None:
    run = run_of(tmp_path / "run", {"autograd": 1e-3, "fast": seconds})
    asked = _recorded(monkeypatch, run)

    def ask() -> list[Limited]:
        return bench.not_slower("wave", "fast", than="autograd", dims="N=64,D=8", pass_="forward", from_="kernels")

    if outcome == "":
        assert ask() == limited(run, "fast", 1.05)
    elif outcome == "skip":
        with pytest.raises(pytest.skip.Exception, match="inconclusive: wave/fast"):
            ask()
    else:
        with pytest.raises(AssertionError, match=r"as long as autograd; 1\.05× is allowed") as error:
            ask()
        assert str(error.value).endswith(f"records: {asked.folder}")
    wanted: Any = asked.wanted
    assert (wanted.layers, wanted.strategies, wanted.baseline, wanted.launches) == (("wave",), ("fast",), "autograd", 8)
    assert (wanted.dims, wanted.passes, wanted.dtypes) == (("N=64,D=8",), ("forward",), ("float32",))
    assert asked.sources[1:] == (str(tmp_path / "kernels"),)


def test_a_strategy_that_is_wrong_where_it_was_timed_fails(
    bench: Layerbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    g = GROUP
    wrong = CaseStatus(
        g.layer, "fast", "wrong", "wrong where it was timed", "time", g.dims, g.dtype, g.device, g.threads
    )
    _recorded(monkeypatch, write(tmp_path / "run", strategy("autograd"), strategy("fast"), wrong, head=header()))
    with pytest.raises(AssertionError, match="fast: wrong: wrong where it was timed"):
        bench.not_slower("wave", "fast", than="autograd")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"than": "fast"}, "than='fast': give another strategy"),
        ({"by": 0.5}, "by=0.5: give how many times as long it may take, at least 1"),
        ({"by": float("nan")}, "by=nan"),
        ({"launches": 4}, "launches=4: an interval needs 5"),
        ({"inconclusive": "pass"}, "inconclusive='pass': choose skip or fail"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(bench: Layerbench, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench.not_slower("wave", "fast", **{"than": "autograd", **more})


def test_a_folder_is_looked_for_from_the_suite_s_root_on(bench: Layerbench, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = bench.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert bench._found("kernels") == ("../kernels/",)
    assert bench._found(["kernels/", "json"]) == ("../kernels/", "json")
    (bench.root / "one.py").write_text("")
    assert bench._found("one.py") == ("../one.py",)
    with pytest.raises(SourceError, match="no package, folder or file called 'nowhere'"):
        bench.agrees("wave", "fast", from_="nowhere")


@pytest.mark.parametrize(("worker", "where"), [("", "popen-gw0"), ("gw0", ".")])
def test_one_timing_at_a_time_for_all_workers_of_xdist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, worker: str, where: str
) -> None:
    own = tmp_path / "popen-gw0"
    own.mkdir()
    folders: Any = SimpleNamespace(getbasetemp=lambda: own)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    lock = tmp_path / where / "layerbench.lock"
    with Layerbench(tmp_path, folders)._alone():
        assert not _free(lock)
    assert _free(lock)


def _free(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
