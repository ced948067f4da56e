"""Tables on a terminal: coloured, and as wide as it is; plain Markdown where the output is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.escaping import terminal

Pieces = Callable[[str], list[str]]

COLOURS = {
    "faster": "bold green", "the pick": "bold green", "slower": "red", "dearer": "red", "wrong": "bold red",
    "baseline": "bold", "tie": "cyan", "inconclusive": "yellow", "no verdict": "yellow", "cheaper": "yellow",
    "skipped": "dim", "unsupported": "dim", "waived": "yellow", "held": "bold green", "failed": "bold red",
    "missing": "dim",
}  # fmt: skip
"""By the first word of a verdict or result."""

EXPENDABLE = ("n", "notes", "tie band", "tie within", "device", "dtype", "first call (s)", "memory (KiB)",
              "time (µs)", "time of a call (µs)", "in all (s)", "size")  # fmt: skip
"""Columns that a narrow terminal does without, the first ones first; a key only where it says the same in all rows."""

KEYS = ("layer", "size", "dtype", "device", "pass", "strategy")
"""Columns that say what a row is about: where a table is shown in parts, each part begins with them."""

GAP = 2
"""Between two columns."""

SHORTEST_NOTE = 24
"""Notes, the last column, are cut before a column is left out, down to so many characters."""


def show(frame: pd.DataFrame, console: Console | None = None) -> None:
    """Print a table of texts, its verdicts in colour, on standard output if nothing else is given.

    Where it is too wide, columns are left out first; then cells and titles are broken at words; then what is left is
    shown in parts, one below the other.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.file.write(frame.map(terminal).to_markdown(index=False, disable_numparse=True) + "\n")
        return
    kept = fitting(frame, console.width)
    for number, part in enumerate(_parts(frame, kept, console.width)):
        if number:
            console.print()
        console.print(_table(frame[part], console.width))
    left_out = [name for name in frame.columns if name not in kept]
    if left_out:
        console.print(Text(f"left out at this width: {', '.join(left_out)}", style="dim"), soft_wrap=True)


def _table(frame: pd.DataFrame, width: int) -> Table:
    names = [str(name) for name in frame.columns]
    widths = _widths(frame, names)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    if sum(widths) <= width:
        for name in names:
            table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    else:
        for name, cells in zip(names, _broken(widths, _widths(frame, names, str.split), width), strict=True):
            table.add_column(Text(name), width=cells - GAP, overflow="fold")
    space = width - sum(w for name, w in zip(names, widths, strict=True) if name != "notes") - GAP
    for row in frame.itertuples(index=False, name=None):
        shown = [_cell(name, value) for name, value in zip(names, row, strict=True)]
        if names[-1] == "notes":
            shown[-1].truncate(max(space, SHORTEST_NOTE), overflow="ellipsis")
        table.add_row(*shown)
    return table


def _broken(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Widths that fit, as far as words allow: what is missing is taken where most is to spare."""
    found = list(widths)
    while sum(found) > width:
        spare = [own - few for own, few in zip(found, least, strict=True)]
        if not any(spare):
            break
        found[spare.index(max(spare))] -= 1
    return found


def say(line: str, console: Console, style: str = "") -> None:
    """Print a line, broken at words on a terminal only."""
    text = Text(terminal(line), style=style)
    console.print(text, soft_wrap=not console.is_terminal)


def _cell(name: str, value: object) -> Text:
    text = terminal(value)
    style = COLOURS.get(text.split(";")[0].split(":")[0], "") if name in ("verdict", "result") else ""
    return Text(text, style="dim" if name in ("notes", "reason") else style)


def fitting(frame: pd.DataFrame, width: int) -> list[str]:
    """The columns that fit side by side, or that no width may do without: those that tell rows apart are kept."""
    kept = [str(name) for name in frame.columns]
    for name in EXPENDABLE:
        if sum(_widths(frame, kept)) <= width:
            break
        if name in kept and not (name in KEYS and frame[name].nunique() > 1):
            kept.remove(name)
    return kept


def _parts(frame: pd.DataFrame, kept: Sequence[str], width: int) -> list[list[str]]:
    """The columns of each part of a table: one part, unless it is too wide even with each cell broken at words."""
    least = dict(zip(kept, _widths(frame, kept, str.split), strict=True))
    keys = list(takewhile(KEYS.__contains__, kept))
    parts: list[list[str]] = [keys]
    for name in kept[len(keys) :]:
        if parts[-1] != keys and sum(least[column] for column in (*parts[-1], name)) > width:
            parts.append(keys)
        parts[-1] = [*parts[-1], name]
    return parts


def _widths(frame: pd.DataFrame, names: Sequence[str], pieces: Pieces = lambda text: [text]) -> list[int]:
    """Cells that each column takes for its longest piece, with the gap to the next."""
    found = []
    for name in names:
        texts = [name, *map(terminal, frame[name])]
        own = max((Text(piece).cell_len for text in texts for piece in pieces(text)), default=0)
        found.append(GAP + (min(own, SHORTEST_NOTE) if name == "notes" else own))
    return found
