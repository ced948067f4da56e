"""The command line as a user meets it: answers fast, one clear line for a mistake, the documented exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records.store import FILE, read
from tests.conftest import PACKAGES, ROOT, Cli


def test_list_names_layers_and_strategies(cli: Cli) -> None:
    layers = json.loads(cli("list", "--json").stdout)
    assert set(layers) >= {"affine", "weighted_sum"}
    assert all(len(layer["strategies"]) >= 6 and layer["summary"] for layer in layers.values())
    assert "affine: Affine layer" in cli("list").stdout


def test_help_shows_an_example_for_each_command(cli: Cli) -> None:
    for command in ("list", "verify", "bench", "report"):
        done = cli(command, "--help")
        assert done.returncode == 0
        assert f"Example: layerbench {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "--layer", "nope"), "unknown layer 'nope': choose from affine, weighted_sum"),
        (("bench", "--strategy", "nope"), "unknown strategy 'nope': choose from autograd, compiled, func"),
        (("verify", "--strategy", "nope"), "unknown strategy 'nope'"),
        (("bench", "--device", "tpu"), "unknown device 'tpu': choose from cpu, cuda"),
        (("bench", "--device", "cpu", "--dtype", "int3"), "unknown dtype 'int3': choose from float64, float32"),
        (("bench", "--baseline", "nope"), "unknown baseline 'nope'"),
        (("bench", "--device", "cpu", "--out", "pyproject.toml"), "is a file: give --out a folder"),
        (("bench", "--device", "cpu", "--out", "tests"), "is not empty: choose another --out"),
        (("bench", "--resume"), "--resume needs --out FOLDER"),
        (("bench", "--resume", "--out", "tests"), "holds no records.jsonl"),
        (("bench", "--budget", "soon"), "--budget soon: give a time such as 90s, 8m or 1h"),
        (("bench", "--from", "no_such_package"), "no package and no folder called 'no_such_package'"),
        (("report", "no/such/run"), "holds no records.jsonl"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("layerbench: ")]
    assert len(said) == 1, done.stderr
    assert message in said[0]
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_lists_the_profiles(cli: Cli) -> None:
    done = cli("bench", "--profile", "fast")
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("quick", "default", "full"))


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_cuda_that_is_not_there_is_refused(cli: Cli) -> None:
    done = cli("bench", "--device", "cuda")
    assert done.returncode == 2
    assert "no CUDA device is available to this torch: use --device cpu" in done.stderr


def test_a_folder_that_cannot_be_made_is_refused(cli: Cli) -> None:
    done = cli("bench", "--device", "cpu", "--out", "/proc/nothing/here")
    assert done.returncode == 2
    assert "cannot write to /proc/nothing/here" in done.stderr


def test_without_a_compiler_the_line_says_what_to_install(cli: Cli) -> None:
    done = cli(
        "verify", "--layer", "affine", "--strategy", "compiled", "--strategy", "autograd", "--device", "cpu",
        CXX="no-such-compiler",
    )  # fmt: skip
    assert done.returncode == 0
    assert "needs a C++ compiler and none was found: install g++ or set CXX" in done.stdout
    alone = cli("verify", "--layer", "affine", "--strategy", "compiled", "--device", "cpu", CXX="no-such-compiler")
    assert alone.returncode == 4


def test_a_layer_that_does_not_load_is_a_failure_and_not_an_omission(cli: Cli, tmp_path: Path) -> None:
    for name in ("__init__", "autograd"):
        target = tmp_path / "layers" / "scale" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((PACKAGES / "hostile" / "scale" / f"{name}.py").read_text())
    (tmp_path / "layers" / "bad").mkdir()
    (tmp_path / "layers" / "bad" / "__init__.py").write_text("raise RuntimeError('not today')\n")
    source = ("--from", tmp_path / "layers", "--device", "cpu")
    alone = cli("verify", *source, "--layer", "bad")
    assert alone.returncode == 2
    assert "layer bad cannot be used: __init__.py:1: RuntimeError: not today" in alone.stderr
    assert cli("verify", *source, "--layer", "scale").returncode == 0
    # with ours left out of the way, by wanting one quick strategy of all layers that load
    all_layers = cli("verify", *source, "--strategy", "autograd")
    assert all_layers.returncode == 1
    assert "(the layer itself)" in all_layers.stdout


SCALE = ("--device", "cpu", "--layer", "scale", "--strategy", "module", "--from", str(PACKAGES / "hostile"))


def _scale(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "harness", "bench", "--profile", "quick", *SCALE, "--out", str(out), *more]


@pytest.mark.timeout(300)
def test_ctrl_c_keeps_what_was_finished_says_how_to_go_on_and_resume_runs_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(_scale(out), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out / FILE).exists():
        time.sleep(0.05)
    while time.monotonic() < deadline and "launch 2" not in (out / FILE).read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: layerbench bench --resume --out {out}" in stderr
    assert "Traceback" not in stderr
    before = read(out)
    assert before.done
    assert not before.warnings

    resumed = subprocess.run(_scale(out, "--resume"), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr
    after = read(out)
    cells = [r["cell"] for r in after.of("cell")]
    assert len(cells) == len(set(cells))
    assert len(after.of("samples")) == 2 * 5 * 3  # passes × launches × (module, baseline, baseline again)
    assert after.of("cell")[: len(before.of("cell"))] == before.of("cell")


@pytest.mark.timeout(300)
def test_kill_9_loses_nothing_and_resume_completes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for seconds in (6.0, 9.0, 12.0):
        process = subprocess.Popen(
            _scale(out, *(["--resume"] if (out / FILE).exists() else [])), cwd=ROOT, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds)
        process.kill()
        process.wait()
        if (out / FILE).exists():
            read(out)
    done = subprocess.run(_scale(out, "--resume"), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    cells = [r["cell"] for r in read(out).of("cell")]
    assert len(cells) == len(set(cells))
    assert len(read(out).of("samples")) == 30


def test_resume_refuses_sources_that_have_changed(cli: Cli, tmp_path: Path) -> None:
    package = tmp_path / "package" / "scale"
    package.mkdir(parents=True)
    for name in ("__init__", "autograd", "module"):
        (package / f"{name}.py").write_text((PACKAGES / "hostile" / "scale" / f"{name}.py").read_text())
    options = ("--device", "cpu", "--layer", "scale", "--from", package.parent, "--out", tmp_path / "run")
    assert cli("bench", "--profile", "quick", "--launches", "1", *options).returncode == 0
    (package / "module.py").write_text((package / "module.py").read_text() + "\n# changed\n")
    done = cli("bench", "--resume", *options)
    assert done.returncode == 2
    assert "changed since the run began: scale/module; start a new run instead of --resume" in done.stderr


def test_a_budget_ends_the_run_in_time_and_says_what_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    started = time.monotonic()
    done = cli("bench", "--profile", "default", *SCALE, "--out", tmp_path / "run", "--budget", "60s", "--json")
    assert time.monotonic() - started < 75
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["timing"]
    assert any(r["status"] == "ok" for r in rows)
    assert all(r["reason"] for r in rows if r["status"] != "ok")
