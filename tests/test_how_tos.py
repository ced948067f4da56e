"""The how-tos do what they say: their code is run, but for the blocks that say that they take minutes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

pytest_plugins = ["pytester"]

BLOCK = re.compile(r"(<!-- takes minutes -->\n)?```python\n(.*?)```", re.DOTALL)
ASKED = re.compile(r"^\$ layerbench (.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)
EXIT = re.compile(r"\(exit code (\d)\)\n")
WRITTEN = re.compile(r"(?:%%writefile|#) (\S+\.py)\n(.*)", re.DOTALL)


def _blocks(name: str) -> list[str]:
    return [code for minutes, code in BLOCK.findall((ROOT / "docs" / name).read_text()) if not minutes]


def _write(folder: Path, block: str) -> bool:
    """Write a block to the file that it names, where it names one."""
    found = WRITTEN.match(block)
    if found:
        path = folder / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found[2])
    return bool(found)


def test_in_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one program on standard input, which has no file either."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [block for block in _blocks("in-notebooks.md") if not _write(tmp_path, block)]
    assert len(cells) >= 7
    program = "\n".join([*cells, "import sys", "assert 'torch' not in sys.modules"])
    done = subprocess.run(
        [sys.executable, "-"], input=program, cwd=tmp_path, capture_output=True, text=True, timeout=280
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    advice, missing = done.stdout.splitlines()
    assert "%%writefile mine/weighted_sum/faster.py" in advice
    assert missing == "no/such/run holds no records.jsonl: give the folder of a run"
    assert "gate  weighted_sum/fast:" in done.stderr


def test_in_your_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    blocks = _blocks("in-your-tests.md")
    assert [_write(pytester.path, block) for block in blocks] == [True, True]
    plugin = ("-p", "no:layerbench", "-p", "harness.testing.plugin")
    found = pytester.runpytest_subprocess(*plugin, "-p", "no:xdist", "tests", "-k", "agrees")
    found.assert_outcomes(passed=1, deselected=1)


def test_choosing(cli: Cli) -> None:
    page = (ROOT / "docs" / "choosing.md").read_text()
    (run,) = set(re.findall(r"\(\.\./(results/[^)]*)\)", page))
    asked = ASKED.findall(page)
    assert len(asked) >= 9
    for question, expected in asked:
        done = cli(*question.replace("RUN", str(ROOT / run)).split())
        code = EXIT.search(expected)
        assert done.returncode == (int(code[1]) if code else 0), (question, done.stderr)
        said = " ".join((done.stdout + done.stderr).split())
        for part in EXIT.sub("", expected).split("…"):
            assert " ".join(part.split()) in said, (question, part, said)
