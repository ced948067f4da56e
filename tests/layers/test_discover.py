"""Folders become a catalogue: by looking, and by loading; other people's mistakes become one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.layers.discover import SourceError, load, scan
from tests.conftest import PACKAGES, ROOT

HOSTILE = str(PACKAGES / "hostile")


def test_every_file_is_a_strategy_and_every_folder_a_layer() -> None:
    found = {(e.layer, e.strategy) for e in scan(["implementations"])}
    for folder in (ROOT / "implementations").iterdir():
        if (folder / "__init__.py").exists():
            files = {f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")}
            assert {s for layer, s in found if layer == folder.name} == {None, *files}


def test_every_layer_has_the_six_strategies() -> None:
    six = {"library", "autograd", "function", "compiled", "triton", "func"}
    found = scan(["implementations"])
    for layer in {e.layer for e in found}:
        assert six <= {e.strategy for e in found if e.layer == layer}


def test_one_name_has_one_look_and_one_rank_in_all_layers() -> None:
    looks: dict[str, set[object]] = {}
    for entry in scan(["implementations"]):
        if entry.strategy is not None:
            strategy = load(entry).value
            assert (strategy.style is None) == bool(strategy.variant_of)
            looks.setdefault(entry.strategy, set()).add((strategy.style, strategy.simplicity))
    assert all(len(look) == 1 for look in looks.values()), looks


def test_scanning_and_the_face_load_no_torch() -> None:
    code = "import sys; from harness.layers.discover import scan; scan(['implementations']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_folder_is_loaded_by_location_and_touches_no_path(tmp_path: Path) -> None:
    layer = tmp_path / "mine" / "affine"
    layer.mkdir(parents=True)
    (layer / "_formula.py").write_text("def f(x, weight, bias):\n    return x @ weight + bias\n")
    (layer / "triton.py").write_text(
        '"""A file called triton that imports triton\'s name."""\nfrom harness import Strategy\nfrom ._formula import f\n'
        "import json\nstrategy = Strategy(f)\n"
    )
    before = list(sys.path)
    (entry,) = scan([str(tmp_path / "mine")])
    loaded = load(entry)
    assert loaded.error is None
    assert sys.path == before
    assert entry.summary == "A file called triton that imports triton's name."
    assert load(entry).value is loaded.value


@pytest.mark.parametrize(
    ("strategy", "error"),
    [
        ("broken_import", "broken_import.py:5: NameError: name 'undefined_name' is not defined"),
        ("missing_package", "missing_package.py:3: ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        ("no_strategy", "no_strategy.py: must define `strategy = Strategy(...)`"),
    ],
)
def test_a_file_that_does_not_load_says_why_in_one_line(strategy: str, error: str) -> None:
    entry = next(e for e in scan([HOSTILE]) if e.strategy == strategy)
    assert load(entry).error == error


def test_a_syntax_error_is_a_line_too(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "bad.py").write_text("x = 1\ndef f(:\n")
    (entry,) = scan([str(tmp_path)])
    assert load(entry).error == "bad.py:2: SyntaxError: invalid syntax (bad.py, line 2)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such_package", "no package, folder or file called 'no_such_package'"),
        ("/no/such/folder", "no package, folder or file called '/no/such/folder'"),
        ("json.decoder", "no package, folder or file"),
    ],
)
def test_an_unknown_source_is_refused_in_one_line(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        scan([source])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no layer"):
        scan([str(tmp_path)])


def test_two_files_for_one_strategy_are_refused(tmp_path: Path) -> None:
    (tmp_path / "affine").mkdir()
    (tmp_path / "affine" / "library.py").write_text("")
    with pytest.raises(SourceError, match="two files define affine/library"):
        scan(["implementations", str(tmp_path)])
