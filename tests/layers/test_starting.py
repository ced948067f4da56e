"""Files to start from: they load, they are copies of what they say, and nothing is ever written over."""

from pathlib import Path

import pytest
import torch

from harness.layers.discover import SourceError, load, scan
from harness.layers.drawing import draw
from harness.layers.spec import options_of
from harness.layers.starting import new_layer, new_strategy
from harness.verify.asking import Local, claims_of
from harness.verify.judging import Subject
from harness.verify.reference import Yardstick
from harness.verify.soundness import refuse_unsound
from harness.verify.suite import stages
from tests.conftest import PACKAGES

OURS = "implementations"


def test_a_new_layer_passes_the_quick_gate(tmp_path: Path) -> None:
    files = new_layer("bend", tmp_path)
    assert [f.name for f in files] == ["__init__.py", "autograd.py", "by_hand.py"]
    found = {e.strategy: load(e) for e in scan([str(tmp_path / "bend")])}
    assert {name: x.error for name, x in found.items()} == {None: None, "autograd": None, "by_hand": None}
    layer, reference, mine = (found[name].value for name in (None, "autograd", "by_hand"))
    refuse_unsound(layer, reference, "cpu")
    subject = Subject("bend", layer, "by_hand", claims_of(mine), Local(layer, mine), Yardstick(reference), "cpu")
    skipped = ("global_state", "steady_memory")  # of the whole process, which is the tests' own here
    results = [r for s in stages(subject, 0, "quick") if s.check not in skipped for r in s.run()]
    assert not [r for r in results if r.result == "wrong"]
    assert len(results) > 50


@pytest.mark.parametrize("layer", ["affine", "rms_norm", "weighted_sum", "decay_attention"])
def test_a_new_strategy_is_the_plain_way_in_a_file_of_its_own(tmp_path: Path, layer: str) -> None:
    file, alone = new_strategy(layer, "fast", tmp_path, [OURS], OURS)
    assert (file, alone) == (tmp_path / "fast.py", True)
    assert f'layer = "{layer}"' in file.read_text()
    entries = {e.strategy: e for e in scan([OURS, str(file)]) if e.layer == layer}
    own, fast, plain = (load(entries[name]) for name in (None, "fast", "autograd"))
    assert fast.error is None
    values = draw(own.value, own.value.check[0], torch.float64, "cpu", 0)
    given = {**values.inputs, **values.parameters, **options_of(own.value.check[0])}
    one, other = (s.value.forward(**given) for s in (fast, plain))
    assert torch.equal(one, other)
    assert fast.value.style is None


def test_a_new_strategy_of_one_s_own_layer_goes_into_its_folder(tmp_path: Path) -> None:
    new_layer("bend", tmp_path)
    source = str(tmp_path / "bend")
    file, alone = new_strategy("bend", "fast", None, [OURS, source], OURS)
    assert (file, alone) == (tmp_path / "bend" / "fast.py", False)
    assert 'layer = "' not in file.read_text()
    (entry,) = [e for e in scan([source]) if e.strategy == "fast"]
    assert load(entry).error is None


def test_nothing_is_written_over(tmp_path: Path) -> None:
    new_layer("bend", tmp_path)
    with pytest.raises(SourceError, match="bend is there already, and is not written over"):
        new_layer("bend", tmp_path)
    new_strategy("affine", "fast", tmp_path, [OURS], OURS)
    with pytest.raises(SourceError, match=r"fast.py is there already, and is not written over"):
        new_strategy("affine", "fast", tmp_path, [OURS], OURS)


@pytest.mark.parametrize(
    ("layer", "name", "line"),
    [
        ("affin", "fast", "unknown layer 'affin': choose from affine, decay_attention"),
        ("affine", "my-way", "'my-way' cannot name a layer or strategy: rename it my_way"),
        ("affine", "library", "affine has a strategy 'library' already"),
        ("gated", "fast", "gated lives in one file: add a name to `strategies` in "),
    ],
)
def test_what_cannot_be_started_is_said(tmp_path: Path, layer: str, name: str, line: str) -> None:
    with pytest.raises(SourceError, match=line):
        new_strategy(layer, name, tmp_path, [OURS, str(PACKAGES / "modules" / "gated.py")], OURS)
    with pytest.raises(SourceError, match="'my-layer' cannot name a layer or strategy"):
        new_layer("my-layer", tmp_path)
    with pytest.raises(
        SourceError, match=r"'\.\./bend' is no name of a layer: give a Python name, and the folder with"
    ):
        new_layer("../bend", tmp_path)
    with pytest.raises(SourceError, match="there is a layer 'affine' already"):
        new_layer("affine", tmp_path, {"affine"})


def test_a_copy_that_needs_its_folder_stays_there(tmp_path: Path) -> None:
    source = str(PACKAGES / "labels" / "cross_entropy")
    with pytest.raises(SourceError, match=r"imports from its own folder .*: leave out --into, to stay there"):
        new_strategy("cross_entropy", "fast", tmp_path, [OURS, source], OURS)


def test_a_copy_of_a_package_s_strategy_imports_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "a_package_of_layers" / "cross_entropy"
    copied.mkdir(parents=True)
    (copied.parent / "__init__.py").write_text("")
    for file in (PACKAGES / "labels" / "cross_entropy").glob("*.py"):
        (copied / file.name).write_text(file.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    file, alone = new_strategy("cross_entropy", "fast", tmp_path, [OURS, "a_package_of_layers"], OURS)
    assert alone
    assert "from a_package_of_layers.cross_entropy import IGNORED\n" in file.read_text()
    (entry,) = scan([str(file)])
    assert load(entry).error is None
