"""What several tests share: running the command line as a user would."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = Path(__file__).parent / "packages"

LONGEST = ("implementations/test_gate.py", "test_cli.py")
"""Files that take minutes come first: with a process for each core they would else be left over at the end."""

Cli = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def cli() -> Cli:
    """``cli("list", "--json")`` runs the program and gives its exit code, output and error output."""

    def run(
        *arguments: str | Path, cwd: Path = ROOT, timeout: float = 280, **env: str
    ) -> subprocess.CompletedProcess[str]:
        import os

        return subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, timeout=timeout, env={**os.environ, **env},
        )  # fmt: skip

    return run
