"""The wheel, built without a network: all that the program reads is in it, and it works where no checkout is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

BUILD = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("harness", "implementations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("layerbench-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (p for top in ("harness", "implementations") for p in (ROOT / top).rglob("*") if p.is_file())
    assert inside == {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts}
    assert {"harness/py.typed", "harness/layers/templates/layer.py.jinja"} <= inside
    assert any(name.endswith(".csv") for name in inside)


def test_the_wheel_states_its_command_and_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        facts = {Path(n).name: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    assert "layerbench = harness.cli:main" in facts["entry_points.txt"]
    for extra in ("gpu", "search", "cluster", "dev"):
        assert f"Provides-Extra: {extra}" in facts["METADATA"]


def test_the_wheel_works_outside_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, here = tmp_path / "installed", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(installed)
    here.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        words = [sys.executable, "-P", "-m", "harness", *arguments]
        return subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True)

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import harness; print(harness.__file__)"],
        cwd=here, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
    assert run("new", "layer", "bend").returncode == 0
    assert run("new", "strategy", "affine", "fast").returncode == 0
    listed = run("list", "--from", "./bend", "--from", "fast.py")
    assert listed.returncode == 0, listed.stderr
    assert "by_hand" in listed.stdout
    assert "fast" in listed.stdout
    done = run("verify", "--device", "cpu", "--check", "values", "--from", "fast.py", "--layer", "affine",
               "--strategy", "fast")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
