"""The page: whole, self-contained, escaped, the same bytes every time (test_browser.py: alive in a browser)."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.analyse.findings import findings
from harness.records.schema import CaseStatus, as_record
from harness.records.store import read
from harness.report import everything, page
from tests.analyse.recorded import SIZES, check, records, write

TIMES = {
    SIZES[0]: {"plain": 1.0e-5, "shelf": 1.5e-5, "made": 4.0e-5, "hand": 2.0e-5},
    SIZES[2]: {"plain": 2.0e-3, "shelf": 1.6e-3, "made": 1.0e-3, "hand": 1.0e-3},
}
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Tags, ids and addresses of a page; fails on a tag that is closed wrongly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "xlink:href", "action", "srcset", "data"):
                self.links.append((tag, str(value)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def _items(**more: Any) -> list[dict[str, Any]]:
    held = {"plain": 4000, "shelf": 1000, "made": 2000, "hand": 8000}
    first = {"plain": 0.1, "shelf": 0.1, "made": 9.0, "hand": 0.1}
    return records(TIMES, held=held, first=first, **more)


def _without_figures(folder: Path, items: list[dict[str, Any]]) -> str:
    return page.render(findings(read(write(folder, items))), [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("page")
    checks = [
        check("hand", "compile", "limited", error=None, detail="no rule for <this> & that"),
        check("plain", "compile"),
    ]
    write(folder, _items(checks=checks))
    everything.write_all(read(folder), folder)
    return folder, (folder / "report.html").read_text()


def test_it_is_whole_and_needs_nothing_from_outside(whole: tuple[Path, str]) -> None:
    folder, text = whole
    found = Reader(text)
    assert len(found.ids) == len(set(found.ids))
    for tag, link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids, link
        elif tag == "a":
            assert (folder / link).exists(), link
        else:
            assert link == "data:,", (tag, link)
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(found.ids)
    assert not re.search(r"https?://", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert str(folder) not in text
    assert len(text) < 1_500_000


def test_the_decision_comes_first_and_is_the_right_one(whole: tuple[Path, str]) -> None:
    text = whole[1]
    assert text.index('id="decision"') < text.index("<svg") < text.index('id="environment"')
    assert "Use plain, but made at N=256,D=256." in text
    assert f"Use plain for one at {SIZES[0]}, float32, cpu, 1 thread, forward + backward" in text
    assert "the winner changes between N=16,D=16 (plain) and N=256,D=256 (made)" in text
    for section in ("map", "times", "correct", "combine", "memory", "compile", "repeats", "noise", "warnings", "again"):
        assert f'<h2 id="{section}">' in text
    assert "git checkout abc" in text
    assert "layerbench bench --profile" in text


def test_a_case_that_was_not_planned_has_no_row(tmp_path: Path) -> None:
    items = _items()
    items[0]["groups"][0] = {**items[0]["groups"][0], "dtype": "bfloat16"}
    text = _without_figures(tmp_path, items)
    decision = next(table for table in re.findall(r"<table>.*?</table>", text, re.DOTALL) if "may yet win" in table)
    assert decision.count("<tr") - 1 == 2 * len(items[0]["groups"])
    assert decision.index("bfloat16") > decision.rindex("float32")  # nothing was measured in it


def test_what_comes_from_records_is_escaped(tmp_path: Path) -> None:
    bad = '<script>alert(1)</script> & "quotes" | {{ 7 * 7 }}'
    checks = [check("plain", "compile", "limited", detail=bad, error=None)]
    text = _without_figures(tmp_path, _items(failed={"hand": bad}, checks=checks))
    Reader(text)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in text
    assert "{{ 7 * 7 }}" in text


def test_figures_share_no_ids_and_are_named_for_those_who_do_not_see_them(whole: tuple[Path, str]) -> None:
    text = whole[1]
    assert text.count("<svg") == text.count('role="img" aria-label="one: ') > 6
    assert "<metadata" not in text


def test_it_is_the_same_bytes_again(whole: tuple[Path, str]) -> None:
    folder, text = whole
    everything.write_all(read(folder), folder)
    assert (folder / "report.html").read_text() == text


def test_a_run_without_any_measurement_has_a_page_that_says_so(tmp_path: Path) -> None:
    items = [r for r in records(TIMES) if r["kind"] not in ("samples", "training")]
    text = _without_figures(tmp_path, items)
    Reader(text)
    assert "Nothing was measured: there are no times, and no recommendation." in text
    assert "Nothing was measured for one at" in text


def test_what_there_was_no_time_for_is_no_answer(tmp_path: Path) -> None:
    items = records({SIZES[0]: {"plain": 1e-5}})
    items = [i for i in items if i["kind"] != "samples" or i["pass"] != "step"]
    g = items[0]["groups"][0]
    where = {k: g[k] for k in ("dims", "dtype", "device", "threads")}
    left_out = CaseStatus(g["layer"], "plain", "skipped", "left out", "budget", **where)
    text = _without_figures(tmp_path, [*items, as_record(left_out)])
    assert "forward + backward: " in text
    assert "is known to do all that is required" not in text
    assert "Nothing was measured for" not in text


def test_few_launches_and_missing_checks_are_warned_of(tmp_path: Path) -> None:
    text = _without_figures(tmp_path, _items(launches=2))
    assert "6 cases have too few launches for an interval." in text or "12 cases have too few launches" in text
    assert "These records hold no composability checks" in text
    assert "Nothing is settled;" in text
