"""Where results go and sources come from by default."""

import re
from pathlib import Path

import pytest

from harness.layers.discover import SourceError
from harness.run.places import OURS, free_folder, sources
from tests.conftest import PACKAGES


def test_results_never_go_where_some_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = free_folder({"cpu": "A CPU"}, "quick")
    assert first.parts[0] == "results"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-quick", first.name)
    first.mkdir(parents=True)
    assert free_folder({"cpu": "A CPU"}, "quick") == first.with_name(f"{first.name}-2")


def test_sources_are_ours_and_then_folders_as_other_processes_find_them() -> None:
    assert sources(None) == (OURS,)
    assert sources([str(PACKAGES / "tricky")]) == (OURS, str(PACKAGES / "tricky"))
    with pytest.raises(SourceError, match="no package, folder or file"):
        sources(["nowhere"])
