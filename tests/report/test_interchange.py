"""pytest-benchmark's own program reads what is written for it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.analyse.contending import evidence
from harness.report.interchange import to_pytest_benchmark, write
from tests.analyse.made_up import run_of

TIMES = {"autograd": 1e-3, "fast": 5e-4}


def test_seconds_travel_as_they_were_timed_and_verdicts_beside_them(tmp_path: Path) -> None:
    found = {b["params"]["strategy"]: b for b in to_pytest_benchmark(evidence(run_of(tmp_path, TIMES)))["benchmarks"]}
    assert found.keys() == TIMES.keys()
    fast = found["fast"]
    assert len(fast["stats"]["data"]) == fast["stats"]["rounds"] == 8 * 11
    assert fast["stats"]["median"] == pytest.approx(np.median(fast["stats"]["data"]))
    assert fast["stats"]["median"] == pytest.approx(5e-4, rel=0.02)
    assert fast["extra_info"]["verdict"] == "faster"
    assert fast["extra_info"]["ratio"] == pytest.approx(0.5, rel=0.02)
    assert found["autograd"]["group"] == fast["group"]


def test_no_name_of_a_machine_travels(tmp_path: Path) -> None:
    assert to_pytest_benchmark(evidence(run_of(tmp_path, TIMES)))["machine_info"]["node"] == ""


def test_pytest_benchmark_compares_two_runs(tmp_path: Path) -> None:
    files = [str(write(evidence(run_of(tmp_path / n, TIMES, seed=i)), tmp_path / n)) for i, n in enumerate("ab")]
    script = "import sys; from pytest_benchmark.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "compare", *files, "--columns=median"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fast[wave N=64,D=8 float32 cpu forward 1 threads]") == 2
    assert json.loads(Path(files[0]).read_text())["version"] == "5.3.1"
