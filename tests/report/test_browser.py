"""The pages in a real browser (``make test-page``): nothing complains, nothing is asked of a network, nothing is cut off.

Screenshots at three widths, of the dark page and of the printed one go to ``PAGE_SHOTS``, if that names a folder.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.analyse.findings import findings
from harness.analyse.side_by_side import side_by_side
from harness.records.store import read
from harness.report import runs_page
from tests.report.test_page import whole  # noqa: F401 - the fixture

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (360, 800, 1400)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--no-first-run", "--hide-scrollbars", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
FILTERED = """
var s = document.querySelector('select[name=pass]'); s.value = 'step';
s.dispatchEvent(new Event('change', {bubbles: true}));
var rows = function (q) { return document.querySelectorAll('tr[data-pass=' + q + ']:not([hidden])').length; };
say({shown: rows('step'), hidden: rows('forward_backward')});
"""
FITTING = """
document.documentElement.style.width = 'WIDTHpx';  // a headless window is never narrower than 500
var out = [].filter.call(document.querySelectorAll('body *'), function (e) {
  return e.getBoundingClientRect().right > WIDTH + 1 && !e.closest('.scroll, pre, .skip');
});
say({out: out.map(function (e) { return e.outerHTML.slice(0, 80); }), width: document.body.offsetWidth});
"""
SCROLLED = """
document.documentElement.style.width = '360px';
document.querySelectorAll('details').forEach(function (e) { e.open = true; });
var wide = [].filter.call(document.querySelectorAll('.scroll'), function (e) { return e.scrollWidth > e.clientWidth + 1; });
say({wide: wide.length, stuck: wide.filter(function (e) {
  e.scrollLeft = e.scrollWidth;
  return e.scrollLeft + e.clientWidth < e.scrollWidth - 1 || e.tabIndex !== 0;
}).length});
"""
LOADED = """
addEventListener('load', function () {
  say({loaded: performance.getEntriesByType('resource').map(function (e) { return e.name; })});
});
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def pages(whole: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """A run's page, and one of two runs."""
    own = findings(read(whole[0]))
    both = runs_page.write(side_by_side([own, own], ["here", "there"]), tmp_path_factory.mktemp("both"))
    return {"report": whole[0] / "report.html", "runs": both}


def _browse(page: Path, scratch: Path, *flags: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={scratch / 'profile'}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not quiet or not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done


def _told(page: Path, scratch: Path, script: str, *flags: str, quiet: bool = True) -> dict[str, object]:
    """What a script says about a page."""
    say = "function say(x) { document.title = JSON.stringify(x); }"
    copy = scratch / "page.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{say}{script}</script></body>"))
    found = re.search(r"<title>(.*?)</title>", _browse(copy, scratch, "--dump-dom", *flags, quiet=quiet).stdout)
    assert found
    answer = json.loads(html.unescape(found[1]))
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("name", ["report", "runs"])
def test_the_filter_works(pages: dict[str, Path], name: str, tmp_path: Path) -> None:
    told = _told(pages[name], tmp_path, FILTERED)
    assert told["shown"]
    assert told["hidden"] == 0


@pytest.mark.parametrize("name", ["report", "runs"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(pages: dict[str, Path], name: str, width: int, tmp_path: Path) -> None:
    told = _told(pages[name], tmp_path, FITTING.replace("WIDTH", str(width)), "--window-size=1400,900")
    assert told == {"out": [], "width": min(width, 72 * 16)}


@pytest.mark.parametrize("name", ["report", "runs"])
def test_on_a_phone_what_is_wider_can_be_scrolled_to_its_end(pages: dict[str, Path], name: str, tmp_path: Path) -> None:
    """By finger, and by arrow keys: it takes the focus."""
    told = _told(pages[name], tmp_path, SCROLLED, "--window-size=1400,900")
    assert told["wide"]
    assert told["stuck"] == 0


@pytest.mark.parametrize("name", ["report", "runs"])
def test_nothing_is_loaded_from_anywhere(pages: dict[str, Path], name: str, tmp_path: Path) -> None:
    assert _told(pages[name], tmp_path, LOADED, "--virtual-time-budget=3000") == {"loaded": []}
    greedy = tmp_path / "greedy.html"
    body = re.sub(r"<meta http-equiv[^>]*>", "", pages[name].read_text())
    greedy.write_text(body.replace("</main>", '<img src="http://127.0.0.1:9/seen.png"></main>'))
    told = _told(greedy, tmp_path, LOADED, "--virtual-time-budget=3000", quiet=False)
    assert told == {"loaded": ["http://127.0.0.1:9/seen.png"]}  # or else the test above sees nothing


def test_screenshots_are_taken(pages: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(os.environ.get("PAGE_SHOTS") or tmp_path / "shots")
    folder.mkdir(parents=True, exist_ok=True)
    shots = [(f"{name}-{width}", [f"--window-size={width},3000"]) for name in pages for width in WIDTHS]
    shots += [(f"{name}-dark", ["--window-size=800,3000", "--blink-settings=preferredColorScheme=0"]) for name in pages]
    for stem, flags in shots:
        path = folder / f"{stem}.png"
        _browse(pages[stem.split("-")[0]], tmp_path, *flags, f"--screenshot={path}")
        assert path.stat().st_size > 10_000
    for name, page in pages.items():
        path = folder / f"{name}-print.pdf"
        _browse(page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={path}")
        assert path.read_bytes().startswith(b"%PDF")
