"""The reference pages say what ``--help`` and docstrings say; ``make docs`` writes them."""

from importlib.metadata import version

import pytest

from tests import reference
from tests.conftest import ROOT

TESTED = f"typer=={version('typer')}" in (ROOT / "requirements.lock").read_text().splitlines()


@pytest.mark.skipif(not TESTED, reason="another typer than the tested one lays --help out in another way")
def test_the_commands_are_those_of_the_command_line() -> None:
    assert (reference.FOLDER / "commands.md").read_text(encoding="utf-8") == reference.commands()


def test_the_python_reference_is_that_of_the_docstrings() -> None:
    assert (reference.FOLDER / "api.md").read_text(encoding="utf-8") == reference.api()


def test_sections_of_a_docstring_become_lists() -> None:
    doc = "A line with ``code``.\n\nArgs:\n    one, two: words\n        and more: words.\n    three: last.\n\nThe end."
    said = "A line with `code`.\n\nArgs:\n\n* `one, two`: words and more: words.\n* `three`: last.\n\nThe end."
    assert reference.prose(doc) == said
