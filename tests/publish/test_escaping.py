"""Text of strangers in the terminal, in Markdown and in a spreadsheet."""

from pathlib import Path

import pytest

from harness.report import tables
from harness.report.escaping import markdown, spreadsheet, terminal
from tests.publish.bundles import run


def test_control_sequences_are_shown_and_not_obeyed() -> None:
    assert terminal("a\x1b]0;evil\x07b\rc\nd\u202ee\x9b") == "a\\x1b]0;evil\\x07b\\rc\\nd\\u202ee\\x9b"
    assert terminal("×µ – plain") == "×µ – plain"


def test_markdown_has_no_markup_of_its_own() -> None:
    shown = markdown("a|b <script>x</script> [l](http://e) ![i](u) `c` **b**\n# h $x$")
    assert "<" not in shown
    assert "\n" not in shown
    assert "\\|" in shown
    assert "\\[l\\]\\(" in shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_takes_no_formula(text: str) -> None:
    assert spreadsheet(text) == f"'{text}"


def test_numbers_stay_numbers() -> None:
    assert spreadsheet(-1.5) == -1.5
    assert spreadsheet("N=4") == "N=4"


def test_tables_of_a_run_hold_no_formulas(tmp_path: Path) -> None:
    odd = run(tmp_path / "run", extra=[{"kind": "environment"}])
    odd.records["environment"][0]["cpu"] = "=HYPERLINK(1)"
    tables.write_all(odd, tmp_path / "tables")
    assert "cpu,'=HYPERLINK(1)" in (tmp_path / "tables" / "environment.csv").read_text()
