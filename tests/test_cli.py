"""The command line as a user meets it: answers fast, one clear line for a mistake, the documented exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.layers.discover import scan
from harness.records.store import FILE, Run, read
from tests.analyse.made_up import run_of
from tests.conftest import PACKAGES, ROOT, Cli

LAYERS = ", ".join(sorted({e.layer for e in scan(["implementations"])}))


def test_list_names_layers_and_strategies(cli: Cli) -> None:
    layers = json.loads(cli("list", "--json").stdout)
    assert set(layers) >= {"affine", "rms_norm", "weighted_sum"}
    assert all(len(layer["strategies"]) >= 6 and layer["summary"] for layer in layers.values())
    assert "affine: Affine layer" in cli("list").stdout


def test_help_shows_an_example_for_each_command(cli: Cli) -> None:
    for command in (
        "list",
        "verify",
        "aot",
        "tune",
        "audit",
        "bench",
        "merge",
        "report",
        "choose",
        "selftest",
        "compare",
    ):
        done = cli(command, "--help")
        assert done.returncode == 0
        assert f"Example: layerbench {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("bench", "--layer", "nope"),
            f"unknown layer 'nope': choose from {LAYERS}",
        ),
        (("bench", "--strategy", "nope"), "unknown strategy 'nope': choose from autograd, compiled"),
        (("verify", "--strategy", "nope"), "unknown strategy 'nope'"),
        (("verify", "--layer", "affine", "--dims", "Q=3"), "--dims Q=3: name exactly a layer's dims (affine: B=…"),
        (("verify", "--dims", "foo"), "--dims foo: name exactly a layer's dims"),
        (("verify", "--quick", "--full"), "--quick and --full exclude each other"),
        (("new", "layer", "affine", "--into", "no/such/folder"), "there is a layer 'affine' already"),
        (("bench", "--device", "tpu"), "unknown device 'tpu': choose from cpu, cuda"),
        (("bench", "--device", "cpu", "--dtype", "int3"), "unknown dtype 'int3': choose from float64, float32"),
        (("bench", "--baseline", "nope"), "unknown baseline 'nope'"),
        (("bench", "--device", "cpu", "--out", "pyproject.toml"), "is a file: give --out a folder"),
        (("bench", "--device", "cpu", "--out", "tests"), "is not empty: choose another --out"),
        (("bench", "--resume"), "--resume needs --out FOLDER"),
        (("bench", "--resume", "--out", "tests"), "holds no records.jsonl"),
        (("bench", "--shard", "3/2"), "--shard 3/2: give the number of the shard and of how many, such as 1/4"),
        (("bench", "--on", "nowhere"), "--on nowhere: choose local, ray or ray://HOST:PORT"),
        (("bench", "--device-kind", "h100"), "--device-kind is for a cluster: give --on ray with it"),
        (("bench", "--on", "ray", "--shard", "1/2"), "--shard is for machines without an engine"),
        (("bench", "--shard", "half"), "--shard half: give the number of the shard and of how many"),
        (("merge", "no/such/shard", "--out", "no/such/run"), "holds no records.jsonl"),
        (("bench", "--budget", "soon"), "--budget soon: give a time such as 90s, 8m or 1h"),
        (("bench", "--from", "no_such_package"), "no package, folder or file called 'no_such_package'"),
        (("bench", "--device", "cpu", "--allocator", "mine"), "--allocator mine: choose fixed or system"),
        (("report", "no/such/run"), "holds no records.jsonl"),
        (("compare", "no/such/run", "no/such/run"), "holds no records.jsonl"),
        (("selftest", "--out", "tests"), "is not empty: choose another --out"),
        (("choose", "no/such/run", "--layer", "affine"), "holds no records.jsonl"),
        (
            ("aot", "--layer", "nope"),
            f"unknown layer 'nope': choose from {LAYERS}",
        ),
        (("aot", "--target", "sm_1"), "unknown target 'sm_1': choose from sm_80, sm_90, sm_100, gfx942"),
        (("aot", "--out", "table.txt"), "--out table.txt: give a file that ends in .md or .csv"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("layerbench: ")]
    assert len(said) == 1, done.stderr
    assert message in said[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("seconds", "launches", "code"), [(1e-3, 8, 0), (2e-3, 8, 1), (1e-3, 3, 3)])
def test_compare_tells_a_script_whether_anything_became_slower(
    cli: Cli, tmp_path: Path, seconds: float, launches: int, code: int
) -> None:
    run_of(tmp_path / "a", {"autograd": 1e-3, "fast": 1e-3}, seed=1)
    run_of(tmp_path / "b", {"autograd": 1e-3, "fast": seconds}, launches, seed=2)
    done = cli("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert done.returncode == code
    assert len(json.loads(done.stdout)["cases"]) == 1


def test_runs_without_a_common_case_are_not_compared(cli: Cli, tmp_path: Path) -> None:
    run_of(tmp_path / "a", {"autograd": 1e-3, "fast": 1e-3})
    run_of(tmp_path / "b", {"autograd": 1e-3, "new": 1e-3})
    piped = cli("compare", tmp_path / "a", tmp_path / "b")
    assert piped.returncode == 4
    assert piped.stdout.startswith("| layer")
    on_a_terminal = cli("compare", tmp_path / "a", tmp_path / "b", FORCE_COLOR="1", COLUMNS="100")
    assert "| layer" not in on_a_terminal.stdout
    assert "─" * 20 in on_a_terminal.stdout


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
    asked = ("verify", "--check", "values", "--device", "cpu", "--layer", "affine", "--strategy", "compiled")
    done = cli(*asked, "--strategy", "autograd", CXX="no-such-compiler")
    assert done.returncode == 0
    assert "needs a C++ compiler and none was found: install g++ or set CXX" in done.stdout
    assert cli(*asked, CXX="no-such-compiler").returncode == 4


def test_a_layer_that_does_not_load_is_a_failure_and_not_an_omission(cli: Cli, tmp_path: Path) -> None:
    for name in ("__init__", "autograd"):
        target = tmp_path / "layers" / "scale" / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((PACKAGES / "hostile" / "scale" / f"{name}.py").read_text())
    (tmp_path / "layers" / "bad").mkdir()
    (tmp_path / "layers" / "bad" / "__init__.py").write_text("raise RuntimeError('not today')\n")
    source = ("--from", tmp_path / "layers", "--device", "cpu", "--check", "values")
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


def _heeds_ctrl_c() -> None:
    """A shell starts what runs in the background with SIGINT ignored, and what that starts inherits it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stopped_at(process: subprocess.Popen[str], out: Path, text: str) -> str:
    """Interrupt a run once a text is in its records; its error output."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not ((out / FILE).exists() and text in (out / FILE).read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    return stderr


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, int, str]:
    """A run that is stopped by Ctrl-C in its second launch and then completed: folder, before, exit code, errors."""
    out = tmp_path_factory.mktemp("interrupted") / "run"
    process = subprocess.Popen(
        _scale(out, "--launches", "3"), cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=_heeds_ctrl_c
    )
    stderr = _stopped_at(process, out, "launch 2")
    before = read(out)
    resumed = subprocess.run(_scale(out, "--resume"), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr
    return out, before, process.returncode, stderr


@pytest.mark.timeout(600)
def test_ctrl_c_keeps_what_was_finished_and_says_how_to_go_on(interrupted: tuple[Path, Run, int, str]) -> None:
    out, before, code, stderr = interrupted
    assert code == 130
    assert f"go on with: layerbench bench --resume --out {out}" in stderr
    assert "Traceback" not in stderr
    assert before.done
    assert not before.warnings


@pytest.mark.timeout(600)
def test_resume_runs_nothing_twice(interrupted: tuple[Path, Run, int, str]) -> None:
    out, before, _, _ = interrupted
    after = read(out)
    cells = [r["cell"] for r in after.of("cell")]
    assert len(cells) == len(set(cells))
    assert len(after.of("samples")) == 2 * 3 * 3  # passes × launches × (module, baseline, baseline again)
    assert after.of("cell")[: len(before.of("cell"))] == before.of("cell")


@pytest.mark.timeout(600)
def test_resume_takes_the_words_that_it_gave(cli: Cli, interrupted: tuple[Path, Run, int, str]) -> None:
    stderr = interrupted[-1]
    (words,) = [line.partition("go on with: layerbench ")[2] for line in stderr.splitlines() if "go on with" in line]
    done = cli(*words.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_kill_9_loses_nothing_and_resume_completes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for seconds in (6.0, 11.0):
        more = ["--resume"] if (out / FILE).exists() else ["--launches", "2"]
        process = subprocess.Popen(
            _scale(out, *more), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )  # fmt: skip
        time.sleep(seconds)
        process.kill()
        process.wait()
        if (out / FILE).exists():
            read(out)
    more = ["--resume"] if (out / FILE).exists() else ["--launches", "2"]
    done = subprocess.run(_scale(out, *more), cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    cells = [r["cell"] for r in read(out).of("cell")]
    assert len(cells) == len(set(cells))
    assert len(read(out).of("samples")) == 2 * 2 * 3


@pytest.mark.timeout(600)
def test_resume_refuses_sources_that_have_changed(
    cli: Cli, interrupted: tuple[Path, Run, int, str], tmp_path: Path
) -> None:
    lines = (interrupted[0] / FILE).read_text().splitlines()
    header = json.loads(lines[0])
    header["digests"]["scale/module"] = "of another file"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    done = cli(*_scale(tmp_path / "run", "--resume")[3:])
    assert done.returncode == 2
    assert "changed since the run began: scale/module; start a new run instead of --resume" in done.stderr


def test_a_budget_ends_the_run_in_time_and_says_what_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    started = time.monotonic()
    more = ("--dtype", "float32", "--dtype", "bfloat16", "--budget", "60s", "--json")
    done = cli("bench", "--profile", "quick", *SCALE, "--out", tmp_path / "run", *more)
    assert time.monotonic() - started < 75
    assert done.returncode in (0, 4), done.stderr  # 4 where the machine is so busy that the gate takes it all
    rows = json.loads(done.stdout)["timing"]
    assert any(r["status"] == "ok" for r in rows) == (done.returncode == 0)
    assert all(r["reason"] for r in rows if r["status"] != "ok")


VERIFY = ("verify", "--device", "cpu", "--layer", "affine", "--strategy", "library")


def test_one_check_in_one_dtype_at_one_size_is_asked_alone(cli: Cli) -> None:
    done = cli(
        *VERIFY, "--check", "values", "--dtype", "float32", "--dims", "B=1,I=1,O=1,gelu=1", "--seed", "3", "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    mine = [c for c in answer["checks"] if c["strategy"] == "library"]
    assert {(c["check"], c["dtype"], c["dims"], c["seed"]) for c in mine} == {
        ("values", "float32", "B=1,I=1,O=1,gelu=1", 3)
    }
    assert answer["controls"] == answer["training"] == answer["failures"] == []
    assert answer["summary"]["checks"] == {"ok": len(answer["checks"])}


def test_nothing_that_fits_is_nothing_checked(cli: Cli) -> None:
    done = cli(*VERIFY, "--check", "causality")
    assert done.returncode == 4
    assert "nothing was checked" in done.stderr


def test_a_run_that_checked_alone_is_not_gone_on_with_by_a_benchmark(cli: Cli, tmp_path: Path) -> None:
    asked = ("--layer", "weighted_sum", "--strategy", "autograd", "--device", "cpu")
    cli("verify", *asked, "--check", "values", "--dtype", "float64", "--out", tmp_path / "run")
    done = cli("bench", "--resume", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "holds a run that measures nothing, such as verify's: start a new run" in done.stderr


def test_a_record_of_another_kind_of_value_is_one_line(cli: Cli, tmp_path: Path) -> None:
    run_of(tmp_path / "a", {"autograd": 1e-3, "fast": 1e-3})
    lines = (tmp_path / "a" / FILE).read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "samples")
    lines[place] = json.dumps({**json.loads(lines[place]), "seconds": "abc"})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).write_text("\n".join(lines) + "\n")
    for command in (("choose", tmp_path / "b", "--layer", "wave"), ("compare", tmp_path / "a", tmp_path / "b")):
        done = cli(*command)
        assert done.returncode == 2
        assert "a samples record: seconds is 'abc'" in done.stderr


def test_a_damaged_line_is_named_where_runs_are_compared(cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_of(tmp_path / name, {"autograd": 1e-3, "fast": 1e-3})
    whole = (tmp_path / "b" / FILE).read_text().splitlines()
    (tmp_path / "b" / FILE).write_text("\n".join([*whole[:5], "{" + whole[5], *whole[6:]]) + "\n")
    assert "line 6 is damaged" in cli("compare", tmp_path / "a", tmp_path / "b").stderr


def test_what_a_terminal_cannot_show_is_no_error(cli: Cli) -> None:
    asked = ("choose", ROOT / "results/intel-xeon-2-cores/2026-11-24-quick", "--layer", "weighted_sum")
    plain, narrow = cli(*asked), cli(*asked, PYTHONIOENCODING="ascii")
    assert (narrow.returncode, narrow.stderr) == (plain.returncode, "")
    assert "\N{MICRO SIGN}s" in plain.stdout
    assert narrow.stdout == plain.stdout.encode("ascii", "replace").decode()


def test_a_committed_run_is_reported_again(cli: Cli, tmp_path: Path) -> None:
    """Records of earlier versions lack what was added since. Sealed runs: see publish/test_committed.py."""
    runs = [
        file for file in sorted((ROOT / "results").rglob(f"{FILE}*")) if not (file.parent / "manifest.json").exists()
    ]
    for number, records in enumerate(runs):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / records.name).write_bytes(records.read_bytes())
        done = cli("report", folder, "--json")
        assert done.returncode == 0, done.stderr
        gate = json.loads(done.stdout)["gate"]
        run = read(folder)
        profile = run.of("run")[0]["wanted"]["profile"]
        if profile in ("selftest", "tune"):  # runs without a gate
            assert (folder / "tables" / "environment.md").exists()
            assert (folder / "tables" / "meter.md").exists() == (profile == "selftest")
            continue
        assert gate
        assert (folder / "tables" / "gate.md").exists()
        assert "<h2" in (folder / "report.html").read_text()
        if not run.of("samples"):
            assert "nothing was measured" in cli("choose", folder, "--layer", gate[0]["layer"]).stderr
            continue
        assert {r["result"] for r in gate} <= {"ok", "unsupported", "skipped"}
        asked = cli("choose", folder, "--layer", gate[0]["layer"], "--json")
        assert asked.returncode in (0, 3), asked.stderr
        assert json.loads(asked.stdout)["sentence"].startswith("Use ")
