"""The tutorial does what it says: its files are written, its commands run, and its output is what comes out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

PAGE = ROOT / "docs" / "your-own-layer.md"


def _blocks() -> Iterator[tuple[str, list[str]]]:
    """Language and lines of each fenced block."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        yield found[1], found[2].splitlines()


def _write(lines: list[str], folder: Path) -> None:
    """A file by the name in its first line; ``, in …`` replaces the line that begins as the block's only line does."""
    name, _, part = lines[0].removeprefix("# ").partition(", in ")
    path = folder / name
    if not part:
        path.write_text("\n".join(lines[1:]) + "\n")
        return
    start = lines[1][: lines[1].index("=") + 1]
    text = path.read_text()
    assert text.count(start) == 1
    path.write_text(re.sub(re.escape(start) + ".*", lambda _: lines[1], text))


def _commands(lines: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Each command, and the lines that are to come out of it."""
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start].removeprefix("$ layerbench ").split(), lines[start + 1 : end]


def _squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.timeout(600)
def test_the_tutorial_is_true(cli: Cli, tmp_path: Path) -> None:
    done = 0
    for language, lines in _blocks():
        if language == "python":
            _write(lines, tmp_path)
        for words, expected in _commands(lines) if language == "console" else ():
            answer = cli(*words, cwd=tmp_path, PYTHONPATH=str(ROOT))
            said = _squeezed(answer.stdout + " " + answer.stderr)
            for line in expected:
                pattern = ".*".join(re.escape(_squeezed(part)) for part in line.split("…"))
                assert re.search(pattern, said), (words, line, said)
            assert "Traceback" not in answer.stderr
            failed = any(line.startswith("✗") for line in expected)
            refused = any(line.startswith("layerbench: ") for line in expected)
            assert answer.returncode == (1 if failed else 2 if refused else 0), answer.stderr
            done += 1
    assert done == 8
