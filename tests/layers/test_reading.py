"""Files that stand by themselves and folders that are a layer: found by looking, refused with one clear line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.layers.discover import SourceError, load, resolve, scan
from tests.conftest import PACKAGES, ROOT

MISTAKES = PACKAGES / "mistakes"
GATED = PACKAGES / "modules" / "gated.py"


def test_a_file_holds_a_whole_layer() -> None:
    entries = scan([str(GATED)])
    assert [(e.layer, e.strategy) for e in entries][:3] == [
        ("gated", None),
        ("gated", "autograd"),
        ("gated", "partial"),
    ]
    assert entries[0].summary.startswith("A gated map as a module")
    assert all(load(e).error is None for e in entries)
    assert load(entries[1]).value is not load(entries[2]).value


def test_a_file_adds_a_strategy_to_a_layer_that_is_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "fast.py"
    file.write_text(
        '"""Mine."""\nfrom harness import Strategy\nlayer = "affine"\nstrategy = Strategy(lambda x, weight, bias: x @ weight + bias)\n'
    )
    (entry,) = scan([str(file)])
    assert (entry.layer, entry.strategy, entry.summary) == ("affine", "fast", "Mine.")
    assert load(entry).error is None
    assert resolve(str(file)) == str(file)
    assert ("affine", "fast") in {(e.layer, e.strategy) for e in scan(["implementations", str(file)])}


def test_a_folder_that_is_a_layer_needs_no_folder_around_it() -> None:
    entries = scan([str(MISTAKES / "scale")])
    assert ("scale", None) in {(e.layer, e.strategy) for e in entries}
    assert {e.strategy for e in entries} >= {"autograd", "wrong_name"}
    assert load(entries[0]).error is None
    labels = scan([str(PACKAGES / "labels" / "cross_entropy")])
    assert all(load(e).error is None for e in labels)  # with imports from their own folder


def test_looking_at_files_loads_no_torch() -> None:
    code = f"import sys; from harness.layers.discover import scan; scan([{str(GATED)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("syntax.py", r"syntax.py:4: SyntaxError: '\(' was never closed"),
        ("nothing.py", r'nothing.py has neither a layer nor a strategy: write `layer = "name"` beside'),
        ("strategy_alone.py", "strategy_alone.py has a strategy and no layer: write"),
        ("layer_alone.py", r'layer_alone.py has a layer and no strategies: write `strategies = \{"autograd": Strategy'),
        ("name_alone.py", "name_alone.py names the layer 'scale' and has no strategy: add"),
        (
            "computed.py",
            "computed.py has a layer and no strategies: .* a dict whose names can be read without running it",
        ),
        ("odd_key.py", "odd_key.py:8: the keys of strategies must be Python names written out as strings"),
        ("my-way.py", "'my-way' cannot name a layer or strategy: rename it my_way.py"),
        ("notes.txt", "notes.txt is no Python file: give one that ends in .py, a folder or a package"),
    ],
)
def test_a_file_in_neither_form_is_refused_in_one_line(file: str, line: str) -> None:
    with pytest.raises(SourceError, match=line) as error:
        scan([str(MISTAKES / "files" / file)])
    assert "\n" not in str(error.value)


def test_a_folder_or_a_file_in_it_whose_name_is_no_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "my-layer").mkdir(parents=True)
    (tmp_path / "a" / "my-layer" / "autograd.py").write_text("")
    with pytest.raises(SourceError, match="'my-layer' cannot name a layer or strategy: rename it my_layer"):
        scan([str(tmp_path / "a")])
    (tmp_path / "b" / "affine").mkdir(parents=True)
    (tmp_path / "b" / "affine" / "2fast.py").write_text("")
    with pytest.raises(SourceError, match=r"'2fast' cannot name a layer or strategy: rename it _2fast.py"):
        scan([str(tmp_path / "b")])


def test_two_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gated.py").write_text(GATED.read_text())
    with pytest.raises(SourceError, match=r"two files define gated: .*modules/gated.py and .*; rename one"):
        scan([str(GATED), str(tmp_path / "gated.py")])


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "wrong_dims",
            r"wrong_dims.py:\d+: ValueError: dims \{'N': 7, 'D': 5\} must name each of D, N, T, and nothing else",
        ),
        (
            "frozen_parameter",
            r"frozen_parameter.py:\d+: ValueError: a parameter that is not differentiable cannot be trained: make it an input",
        ),
    ],
)
def test_a_layer_that_cannot_be_made_says_why_with_its_line(file: str, line: str) -> None:
    entry = scan([str(MISTAKES / "layers" / f"{file}.py")])[0]
    found = load(entry)
    assert found.error is not None
    assert re.fullmatch(line, found.error), found.error


def test_a_value_that_is_no_strategy_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text("from harness import Layer, Strategy\nlayer = None\nstrategies = {'autograd': 3}\n")
    layer, strategy = scan([str(file)])
    assert load(layer).error == "odd.py: must define `layer = Layer(...)`"
    assert load(strategy).error == 'odd.py: must define `strategies["autograd"] = Strategy(...)`'
