"""Tables on a terminal: colours, columns that fit; plain Markdown where there is none."""

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from harness.report.terminal import say, show

FRAME = pd.DataFrame(
    {
        "size": ["N=1024,D=1024"] * 3, "dtype": ["float32"] * 3, "device": ["cpu"] * 3, "pass": ["forward_backward"] * 3,
        "strategy": ["plain", "hand", "other"], "time (µs)": ["1206", "602.1", "–"], "speed-up": ["1.00×", "2.00× (1.94–2.05)", "–"],
        "verdict": ["baseline", "faster", "wrong"], "tie band": ["±2.0 %"] * 3, "n": ["5", "5", "–"],
        "notes": ["", "no steady state", "a reason that is much longer than any column of a table ought to be, [red]and more"],
    }
)  # fmt: skip
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def _shown(width: int) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system="standard", highlight=False, record=True
    )
    show(FRAME, console)
    return console.export_text(styles=True)


@pytest.mark.parametrize("width", [72, 80, 100, 140, 200])
def test_no_line_is_longer_than_the_terminal_and_none_is_broken(width: int) -> None:
    lines = ESCAPE.sub("", _shown(width)).rstrip("\n").split("\n")
    table = [line for line in lines if not line.startswith("left out")]
    assert all(len(line.rstrip()) <= width for line in table)
    assert len([line for line in table if line.strip()]) == 2 + len(FRAME)
    for row, strategy, speed in zip(table[2:], FRAME["strategy"], FRAME["speed-up"], strict=True):
        assert strategy in row
        assert speed in row  # what matters is never cut


def test_a_narrow_terminal_has_fewer_columns_and_says_which() -> None:
    assert "left out" not in _shown(160)
    said = ESCAPE.sub("", _shown(80))
    assert "left out at this width: " in said
    assert "verdict" in said.split("\n")[0]
    assert " n " not in said.split("\n")[0]


def test_verdicts_are_coloured_and_markup_of_others_is_not() -> None:
    shown = _shown(200)
    assert "\x1b[1;32mfaster" in shown
    assert "\x1b[1;31mwrong" in shown
    assert "[red]" in ESCAPE.sub("", shown)


def test_what_is_piped_is_plain() -> None:
    stream = io.StringIO()
    console = Console(file=stream, highlight=False)
    show(FRAME, console)
    say("a line with \x1b[31mcolour and " + "words " * 40, console, "bold")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith("| size")
    assert stream.getvalue().count("\n") == 2 + len(FRAME) + 1


PROOFS = pd.DataFrame(
    {
        "proof": ["known duration", "torch.utils.benchmark"], "what": ["a wait of 1000 µs is off by", "error of a ratio, 90th percentile"],
        "figure": ["0.046%", "4.460%"], "must be": ["0.000% to 1.000%", "at most 5.000%"],
        "verdict": ["held", "not run: a reason that is long enough to be broken at its words"],
    }
)  # fmt: skip
WIDE = pd.DataFrame(
    {"layer": ["decay_attention", "affine"], "strategy": ["autograd", "compiled"]}
    | {f"combined with number{n}": ["✓", f"✗ {n}.5e+03"] for n in range(12)}
)


def _lines(frame: pd.DataFrame, width: int) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, record=True)
    show(frame, console)
    return [line.rstrip() for line in console.export_text().rstrip("\n").split("\n")]


@pytest.mark.parametrize("frame", [PROOFS, WIDE], ids=["proofs", "wide"])
@pytest.mark.parametrize("width", [80, 100, 300])
def test_what_does_not_fit_is_broken_at_words_and_nothing_is_lost(frame: pd.DataFrame, width: int) -> None:
    lines = _lines(frame, width)
    assert max(map(len, lines)) <= width
    said = " ".join(lines).split()
    assert set(said) >= {word for column in frame for text in (column, *frame[column]) for word in text.split()}
    assert "…" not in "".join(lines)


def test_a_table_that_is_too_wide_for_its_words_is_shown_in_parts_with_the_same_first_columns() -> None:
    lines = _lines(WIDE, 80)
    assert sum("layer" in line and "strategy" in line for line in lines) > 1
    assert sum(line.startswith("decay_attention  autograd") for line in lines) == sum("─" in line for line in lines)
    assert sum("─" in line for line in _lines(WIDE, 400)) == 1


def test_a_column_that_tells_rows_apart_is_never_left_out() -> None:
    sizes = [f"N={n},D=1024,gelu=1" for n in (1, 2, 3)]
    apart = FRAME.assign(size=sizes)
    lines = _lines(apart, 72)
    assert [size for size in sizes if any(size in line for line in lines)] == sizes
    assert not any("size" in line for line in lines if line.startswith("left out"))
    assert any("size" in line for line in _lines(FRAME, 60) if line.startswith("left out"))
