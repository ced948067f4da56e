"""Who may import what: the order of the wings, read from the imports, and that the light ones load no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    # the commands as functions: they end where the command line's do, so they stand beside it
    "notebook": {"publish", "report", "analyse", "run", "layers", "records"},
    # what a test suite says of strategies is asked as in a notebook, and judged as in a report
    "testing": {"notebook", "report", "analyse", "run", "records"},
    "cli": {"publish", "report", "analyse", "run", "verify", "measure", "layers", "records"},
    "publish": {"report", "run", "analyse", "records"},
    "report": {"analyse", "records"},
    "analyse": {"records"},
    "run": {"verify", "measure", "layers", "analyse", "records"},
    "verify": {"layers", "records"},
    "measure": {"layers", "records"},
    "layers": set(),
    "records": set(),
}
LIGHT = ("records", "analyse", "report")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.level and path.is_relative_to(ROOT / "harness")), f"{path}: relative import"
            yield node.module or ""


def _wing(path: Path) -> str:
    return path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")


def _modules() -> list[Path]:
    return [p for p in sorted((ROOT / "harness").rglob("*.py")) if p.parent != ROOT / "harness"]


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_wing_imports_only_what_it_may(path: Path) -> None:
    wing = _wing(path)
    used = {name.split(".")[1] for name in _imports(path) if name.startswith("harness.")} - {wing}
    assert used <= ALLOWED[wing]
    assert not any(name.split(".")[0] == "implementations" for name in _imports(path))
    if wing in LIGHT:
        assert not any(name.split(".")[0] == "torch" for name in _imports(path))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "implementations").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_implementations_use_the_face_only(path: Path) -> None:
    ours = {name for name in _imports(path) if name.startswith("harness")}
    assert ours <= {"harness"}


def test_harness_names_no_layer_and_no_strategy() -> None:
    layers = [p.name for p in (ROOT / "implementations").iterdir() if (p / "__init__.py").exists()]
    strategies = {"library", "compiled", "function"}
    for path in _modules():
        strings = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        assert not strings & {*layers, *strategies}, path


@pytest.mark.parametrize(
    "module", ["harness", "harness.cli", "harness.report.plots", "harness.report.tables", "harness.report.everything",
               "harness.report.answer", "harness.analyse.choose", "harness.analyse.frames",
               "harness.run.bench", "harness.records.environment", "harness.publish.reproduce", "harness.cli.publishing",
               "harness.notebook", "harness.run.pair", "harness.testing.layerbench"],
)  # fmt: skip
def test_light_modules_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_module_is_two_things() -> None:
    long = {p: n for p in _modules() if (n := len(p.read_text().splitlines())) > 350}
    assert not long
