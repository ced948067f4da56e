"""Tables on a terminal: coloured, and as wide as it is; plain Markdown where the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.escaping import terminal

COLOURS = {
    "faster": "bold green", "the pick": "bold green", "slower": "red", "dearer": "red", "wrong": "bold red",
    "baseline": "bold", "tie": "cyan", "inconclusive": "yellow", "cheaper": "yellow", "skipped": "dim",
    "unsupported": "dim",
}  # fmt: skip
"""By the first word of a verdict."""

EXPENDABLE = ("n", "notes", "tie band", "device", "dtype", "first call (s)", "memory (KiB)", "time (µs)",
              "time of a call (µs)", "in all (s)", "size")  # fmt: skip
"""Columns that a narrow terminal does without, the first ones first."""

GAP = 2
"""Between two columns."""

SHORTEST_NOTE = 24
"""Notes, the last column, are cut before a column is left out, down to so many characters."""


def show(frame: pd.DataFrame, console: Console) -> None:
    """Print a table of texts, its verdicts in colour; lines are never broken, columns are left out instead."""
    if not console.is_terminal:
        console.file.write(frame.map(terminal).to_markdown(index=False, disable_numparse=True) + "\n")
        return
    kept = fitting(frame, console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for name in kept:
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    space = console.width - sum(_widths(frame, [name for name in kept if name != "notes"])) - GAP
    for row in frame[kept].itertuples(index=False, name=None):
        cells = [_cell(name, value) for name, value in zip(kept, row, strict=True)]
        if kept[-1] == "notes":
            cells[-1].truncate(max(space, SHORTEST_NOTE), overflow="ellipsis")
        table.add_row(*cells)
    console.print(table)
    left_out = [name for name in frame.columns if name not in kept]
    if left_out:
        console.print(Text(f"left out at this width: {', '.join(left_out)}", style="dim"), soft_wrap=True)


def say(line: str, console: Console, style: str = "") -> None:
    """Print a line, broken at words on a terminal only."""
    text = Text(terminal(line), style=style)
    console.print(text, soft_wrap=not console.is_terminal)


def _cell(name: str, value: object) -> Text:
    text = terminal(value)
    style = COLOURS.get(text.split(";")[0].split(":")[0], "") if name == "verdict" else ""
    return Text(text, style="dim" if name == "notes" else style)


def fitting(frame: pd.DataFrame, width: int) -> list[str]:
    """The columns that fit side by side."""
    kept = [str(name) for name in frame.columns]
    for name in EXPENDABLE:
        if sum(_widths(frame, kept)) <= width:
            break
        kept = [column for column in kept if column != name]
    return kept


def _widths(frame: pd.DataFrame, names: Sequence[str]) -> list[int]:
    """Cells of each column, with the gap to the next."""
    found = []
    for name in names:
        longest = max((Text(terminal(value)).cell_len for value in frame[name]), default=0)
        own = max(len(name), longest)
        found.append(GAP + (min(own, SHORTEST_NOTE) if name == "notes" else own))
    return found
