"""One page for several runs: each apart with its own times, ratios side by side, and what holds in all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analyse import frames
from harness.analyse.side_by_side import CASE, SERIES, SETTLED, SideBySide
from harness.report import page, tables
from harness.report.drawing import machine
from harness.report.numbers import speed_up
from harness.report.writing import write as write_table

FILE = "report.html"
HEADINGS = {"dims": "size"}


@dataclass(frozen=True)
class OneRun:
    """What the page says of each run by itself."""

    letter: str
    name: str
    machine: str
    facts: Sequence[tuple[str, str, str]]
    warnings: Sequence[str]
    tables: Sequence[page.Table]


def write(found: SideBySide, folder: Path) -> Path:
    """Write the page and ``tables/`` into a folder; returns the page's path."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for layer, rows in found.cases.groupby("layer", sort=False):
        write_table(folder / "tables" / f"ratios-{layer}", rows, ratios(found, rows))
    write_table(folder / "tables" / "picks", found.picks, picks(found, found.picks))
    path = folder / FILE
    path.write_text(render(found), encoding="utf-8")
    return path


def render(found: SideBySide) -> str:
    """The page as HTML."""
    layers = list(dict.fromkeys(found.cases["layer"]))
    shown = {f"ratios-{layer}": _ratios(found, str(layer)) for layer in layers}
    keys = found.picks.drop_duplicates(CASE[:-1])
    shown["picks"] = page.table("picks", "What each run says to use", picks(found, found.picks), keys, FILTERS)
    context = {
        "layers": layers,
        "runs": [_one(found, letter) for letter in found.runs],
        "tables": shown,
        "holds": list(_holds(found)),
        "notes": found.notes,
        "filters": {name: [str(v) for v in dict.fromkeys(found.cases[name])] for name in FILTERS},
        "marks": {**page.MARKS, "differs": "≠"},
    }
    return page.templates().get_template("runs.html.jinja").render(context) + "\n"


FILTERS = ("layer", "dtype", "pass")


def _one(found: SideBySide, letter: str) -> OneRun:
    own = found.runs[letter]
    times = [
        page.table(f"times-{letter}-{layer}", f"Times of {layer} in {letter} alone", tables.main(rows), files=False)
        for layer, rows in own.have.timing.groupby("layer", sort=False)
    ]
    facts, warnings = list(page.facts(own)), list(page.warnings(own))
    return OneRun(letter, found.names[letter], machine(own.run), facts, warnings, times)


def _ratios(found: SideBySide, layer: str) -> page.Table:
    rows = found.cases[found.cases["layer"] == layer]
    caption = f"Speed-up of {layer} over its baseline, run by run"
    return page.table(f"ratios-{layer}", caption, ratios(found, rows), rows.drop_duplicates(CASE), FILTERS)


def _holds(found: SideBySide) -> Iterator[str]:
    """A line for each layer: how many verdicts all runs share, which, and how many they do not."""
    for layer, rows in found.cases.drop_duplicates(CASE).groupby("layer", sort=False):
        counts = Counter(rows["on_all"])
        same = {word: counts[word] for word in SETTLED if counts[word]}
        words = ", ".join(f"{n} {word}" for word, n in same.items())
        rest = [f"{n} {word}" for word, n in sorted(counts.items()) if word not in SETTLED]
        yield (
            f"{layer}: {sum(same.values())} of {len(rows)} verdicts hold in all runs"
            + (f" ({words})" if words else "")
            + (f"; the others: {', '.join(rest)}" if rest else "")
        )


def columns(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Run, device and threads of each column."""
    return list(rows[SERIES].drop_duplicates().itertuples(index=False, name=None))


def _title(series: tuple[Any, ...]) -> str:
    run, device, threads = series
    return f"{run}: {device}" + (f" · {threads} threads" if device == "cpu" and threads > 1 else "")


def ratios(found: SideBySide, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a case of a layer, a column for each run × device × threads: the speed-up and its verdict."""
    return _wide(rows, CASE[1:], columns(found.cases), _ratio)


def picks(found: SideBySide, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a layer, size, dtype and pass, a column for each run × device × threads: what it says to use."""
    return _wide(rows, CASE[:-1], columns(found.picks), _pick)


def _wide(rows: pd.DataFrame, keys: list[str], series: list[tuple[Any, ...]], cell: Any) -> pd.DataFrame:
    shown = []
    for key, same in rows.groupby(keys, sort=False):
        cells = {tuple(getattr(r, name) for name in SERIES): cell(r) for r in frames.rows_of(same)}
        line = {HEADINGS.get(name, name): value for name, value in zip(keys, key, strict=True)}
        shown.append({**line, "on all": same["on_all"].iloc[0], **{_title(s): cells.get(s, "–") for s in series}})
    return pd.DataFrame(shown)


def _ratio(row: Any) -> str:
    if row.status != "ok":
        return str(row.status).replace("_", " ")
    return f"{speed_up(row.ratio, row.ratio_low, row.ratio_high)} {row.verdict}"


def _pick(row: Any) -> str:
    return f"{row.pick} ({row.confidence.replace('unsettled', 'not settled')})" if row.pick else "nothing measured"
