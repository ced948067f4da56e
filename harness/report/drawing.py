"""What all plots share: one look, a fixed style for each strategy, and files that regenerate byte for byte."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure as _Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from harness.analyse.launches import GROUP
from harness.records.dims import options_text, sizes_of
from harness.records.store import Run

SPARE = ("#56B4E9", "#F0E442", "#999999", "#661100")
MARKERS, DASHES = ("P", "p", "h", "*"), ("-", "--", "-.", ":")
GREY = "#777777"
RC = {
    "svg.hashsalt": "layerbench",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "hatch.linewidth": 0.5,
}
Styles = dict[str, dict[str, Any]]
SERIES = ["device", "dtype", "threads"]

MOST_GROUPS = 4
"""A figure has no more rows of panels than fit on a page; where a layer has more groups, the tables have them all."""

PNG_COLOURS = 256
"""A palette makes a PNG a third as large, and few plots have more colours."""

HEAD_SIZE, WIDTH_OF_A_CHARACTER = 8.5, 0.56
"""Points, and ems, of a title."""


class Figure(_Figure):
    """A figure that a notebook shows by itself, though no pyplot and no window stands behind it."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=110, metadata={"Software": None})
        return stream.getvalue()


def complete(stated: dict[str, dict[str, str | None]]) -> Styles:
    """Styles for all strategies, in the order of names where they state none.

    A variant has the colour of what it varies, with another marker and dash for each; others get spare styles.
    """
    bases = {name for name, style in stated.items() if not style.get("variant_of")}
    plain = sorted(name for name, style in stated.items() if not style["color"])
    varied = {name: base for name in plain if (base := stated[name].get("variant_of")) in bases}
    found: Styles = {name: dict(style) for name, style in stated.items() if style["color"]}
    for i, name in enumerate(name for name in plain if name not in varied):
        found[name] = {"color": SPARE[i % 4], "marker": MARKERS[i % 4], "dash": DASHES[i % 4]}
    for name, base in varied.items():
        like, i = found[str(base)], [n for n in varied if varied[n] == base].index(name)
        markers = [marker for marker in MARKERS if marker != like["marker"]]
        dashes = [dash for dash in DASHES if dash != like["dash"]]
        found[name] = {"color": like["color"], "marker": markers[i % 3], "dash": dashes[i % 3]}
    return {name: found[name] for name in stated}


def machine(run: Run) -> str:
    """Chip and torch, for subtitles."""
    facts = run.of("environment")[0] if run.of("environment") else {}
    chip = facts.get("gpu") or facts.get("cpu") or "unknown machine"
    return f"{chip} · torch {facts.get('torch', '?')}"


def save(figure: Figure, stem: Path, pdf: bool = False) -> list[Path]:
    """Lay a figure out and write it as SVG (letters as text) and PNG, on request as PDF too; returns the paths.

    A figure is laid out and drawn as few times as can be: that is most of what a report takes.
    """
    ConstrainedLayoutEngine().execute(figure)  # once, not again for each file
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    svg.write_text(_svg(figure), encoding="utf-8")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, pil_kwargs={"compress_level": 0})
    Image.open(stream).convert("RGB").quantize(PNG_COLOURS, dither=Image.Dither.NONE).save(png)
    if not pdf:
        return [svg, png]
    path = stem.with_suffix(".pdf")
    figure.savefig(path, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return [svg, png, path]


def inline(svg: str, prefix: str) -> str:
    """What ``save`` wrote as SVG, as an element for a page, with ids that no other figure has."""
    return re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=xlink:href="#)', prefix, svg[svg.index("<svg") :])


def _svg(figure: Figure) -> str:
    """A figure as SVG, without a date and without what nothing in it refers to, to a hundredth of a point.

    Ids count what they name: matplotlib's are hashes of places to the last bit, which differs with the processor.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    names = {name: f"{name[0]}{n}" for n, name in enumerate(re.findall(r' id="([^"]*)"', text))}
    text = re.sub(r'((?: id="|url\(#|xlink:href="#))([^)"]+)', lambda found: found[1] + names[found[2]], text)
    text = re.sub(r"<g>\s*</g>|<!--.*?-->| transform=\"rotate\(-0 [^)]*\)\"", "", text)
    text = re.sub(r"(\d+\.\d\d)\d+", r"\1", text)
    return re.sub(r"\s*\n\s*", "\n", text)


def group_title(row: SimpleNamespace) -> str:
    """Size, dtype, device and threads of a row."""
    return f"{row.dims.replace(',', ' ')} · {row.dtype} · {row.device}{threads(row)}"


def threads(row: SimpleNamespace) -> str:
    """The threads of a row, where it is of a CPU."""
    return f" · {row.threads} thread{'s' if row.threads > 1 else ''}" if row.device == "cpu" else ""


def series(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows whose sizes a line may join: of one device × dtype × threads × options of the layer."""
    keys = [*(frame[name] for name in SERIES), frame["dims"].map(options_text)]
    return [rows for _, rows in frame.groupby(keys, sort=False)]


def series_title(row: SimpleNamespace) -> str:
    """What the rows of a series have in common, from one of them."""
    options = options_text(row.dims).replace(",", " ")
    return f"{row.device} · {row.dtype}{threads(row)}" + (f" · {options}" if options else "")


def telling(frame: pd.DataFrame, keys: Sequence[str] = GROUP) -> tuple[pd.DataFrame, str]:
    """The rows of at most ``MOST_GROUPS`` groups, and what to say of the others in the title.

    Args:
        keys: columns that make a group. Of too many, the first of each device × dtype × threads come first: a run
            names a layer's most telling size first.
    """
    groups = frame[list(keys)].drop_duplicates()
    if len(groups) <= MOST_GROUPS:
        return frame, ""
    turn = groups.groupby(SERIES, sort=False).cumcount()
    kept = groups.loc[turn.sort_values(kind="stable").index[:MOST_GROUPS]]
    chosen = pd.MultiIndex.from_frame(frame[list(keys)]).isin(pd.MultiIndex.from_frame(kept))
    return frame[chosen], f"\n{MOST_GROUPS} of {len(groups)} are drawn; the table has all"


def count(timing: pd.DataFrame) -> str:
    """The number of launches of what was measured."""
    n = sorted(set(timing.loc[timing["status"] == "ok", "launches"]))
    return f"n = {'–'.join(str(x) for x in dict.fromkeys((n[0], n[-1])))} launches" if n else "nothing measured"


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers, very large and small ones as powers, the denser the less it spans.

    Side by side, powers like 2 × 10⁵ take the room of several plain numbers.

    It has no minor ticks: they say nothing that these do not, and took most of the time of a figure of many panels.
    """
    low, high = axis.get_view_interval()
    narrow = high / low < 1.8
    many, some = (3, 12) if isinstance(axis, XAxis) and high >= 1e5 else (12, 300)
    steps = (1, 1.5, 2, 3, 5, 7) if high / low < many else (1, 2, 5) if high / low < some else (1,)
    axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)) if narrow else LogLocator(10, steps))
    powers = LogFormatterSciNotation(labelOnlyBase=False)
    powers.set_axis(axis)
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if 1e-4 <= abs(x) < 1e5 or x == 0 else powers(x)))
    axis.set_minor_locator(NullLocator())


def size_name(rows: pd.DataFrame) -> str:
    """What an axis of sizes counts: ``N·D``."""
    return "·".join(sizes_of(str(rows["dims"].iloc[0])))


def head(figure: Figure, text: str) -> None:
    """The title, flush left, its lines broken where the figure ends."""
    width = int(figure.get_figwidth() * 72 / (WIDTH_OF_A_CHARACTER * HEAD_SIZE))
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
    figure.suptitle("\n".join(lines), fontsize=HEAD_SIZE, x=0.01, ha="left")


def legend(panels: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Each strategy once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
