"""``verify`` and ``bench`` as functions: what they ask for, what they refuse, and what Ctrl-C says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.layers.discover import SourceError
from harness.notebook import NothingMeasuredError, bench, verify
from harness.publish.claims import ClaimError
from harness.records.store import FILE, read
from harness.run import bench as running
from harness.run.wanted import UsageError
from tests.analyse.made_up import header, run_of, write
from tests.conftest import PACKAGES, ROOT

INTERRUPTED = """
import sys
from harness.notebook import bench

bench(profile="quick", layer="scale", strategy="sleeps", from_=sys.argv[1], device="cpu", out=sys.argv[2])
"""


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(PACKAGES / "hostile"), str(out)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "LAYERBENCH_TEST": str(out)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("plan: "):
            break
    while not _workers(out):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert "KeyboardInterrupt" in rest
    assert f"go on with: bench(out={str(out)!r}, resume=True, from_=[{str(PACKAGES / 'hostile')!r}])" in rest
    assert not _workers(out)
    assert (out / FILE).exists()
    assert "header" in read(out).done


def _workers(mark: Path) -> list[str]:
    """Worker processes that were started with a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inherited = f"LAYERBENCH_TEST={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if inherited and b"harness.run.worker" in (folder / "cmdline").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_mistakes_are_exceptions_with_the_command_line_s_texts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown profile 'fast': choose from quick, default, full"):
        bench(profile="fast")
    with pytest.raises(UsageError, match="resume=True needs out=FOLDER"):
        bench(resume=True)
    with pytest.raises(SourceError, match="no package, folder or file called 'no_such_package'"):
        verify(from_="no_such_package")
    (tmp_path / "something").touch()
    with pytest.raises(UsageError, match="is not empty: choose another --out"):
        bench(out=tmp_path)


def _ends(monkeypatch: pytest.MonkeyPatch, folder: Path, missed: int = 0) -> list[Any]:
    """Let a run end at once with the records of a folder; gives what was asked."""
    asked: list[Any] = []

    def execute(*given: Any) -> running.Outcome:
        asked.extend(given)
        return running.Outcome(folder, (), missed)

    monkeypatch.setattr(running, "execute", execute)
    return asked


def test_bench_asks_for_what_the_command_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_of(tmp_path, {"autograd": 1e-3, "fast": 1e-3})
    asked = _ends(monkeypatch, tmp_path)
    run = bench(
        profile="quick", layer="wave", strategy=["fast"], threads=1, dims="N=64,D=8", pass_="forward", launches=5,
        from_=PACKAGES / "tricky", out=tmp_path, budget=90,
    )  # fmt: skip
    wanted, settings, _ = asked
    assert (wanted.profile, wanted.layers, wanted.strategies, wanted.threads) == ("quick", ("wave",), ("fast",), (1,))
    assert (wanted.dims, wanted.passes, wanted.launches, wanted.scope.level) == (
        ("N=64,D=8",),
        ("forward",),
        5,
        "quick",
    )
    assert settings.sources[1:] == (str(PACKAGES / "tricky"),)
    assert (settings.out, settings.budget, settings.measure) == (tmp_path, 90, True)
    assert list(run.timing["strategy"]) == ["autograd", "fast"]
    assert settings.claims is None


CLAIMS = """
[[claim]]
id = "twice"
kind = "ratio"
layer = "wave"
strategy = "fast"
against = "autograd"
threshold = 2.0
"""


def test_bench_begins_a_run_with_claims(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_of(tmp_path / "run", {"autograd": 1e-3, "fast": 1e-3})
    asked = _ends(monkeypatch, tmp_path / "run")
    (tmp_path / "claims.toml").write_text(CLAIMS)
    bench(layer="wave", claims=str(tmp_path / "claims.toml"), out=tmp_path / "run")
    assert asked[1].claims == tmp_path / "claims.toml"
    with pytest.raises(UsageError, match="claims= belongs to the beginning of a run"):
        bench(claims=tmp_path / "claims.toml", out=tmp_path / "run", resume=True)
    asked.clear()
    (tmp_path / "claims.toml").write_text(CLAIMS.replace('"ratio"', '"speed"'))
    with pytest.raises(ClaimError, match="kind"):
        bench(claims=tmp_path / "claims.toml", out=tmp_path / "other")
    assert not asked  # claims that cannot be read end it before anything runs


def test_a_run_without_any_timing_is_an_exception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path, head=header())
    _ends(monkeypatch, tmp_path)
    with pytest.raises(NothingMeasuredError, match="nothing was measured"):
        bench(out=tmp_path)
    _ends(monkeypatch, tmp_path, missed=2)
    with pytest.raises(NothingMeasuredError, match="the gate is blind: 2 planted faults went through"):
        bench(out=tmp_path)
