"""The sealed bundles of this repository are what their records give, with the code at hand."""

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

BUNDLES = sorted(path.parent for path in (ROOT / "results").rglob("manifest.json"))


def test_there_is_one() -> None:
    assert BUNDLES


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_it_checks(cli: Cli, bundle: Path) -> None:
    done = cli("check", bundle, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
