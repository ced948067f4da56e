"""Plots: the roofline where there are roofs, no more panels than can be read, files that are the same bytes again."""

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from harness.analyse.findings import findings
from harness.records.store import read
from harness.report import plots, roofline
from harness.report.drawing import MOST_GROUPS, RC, _svg, complete, inline, plain_ticks, save, telling
from tests.analyse.recorded import SIZES, records, write

TIMES = {dims: {"plain": 2e-5, "hand": 1e-5} for dims in SIZES[:2]}
ROOFS = [
    *({"kind": "roof", "device": "cpu", "threads": 1, "what": "copy", "dtype": "", "footprint": 2**n, "per_second": 1e10 * n} for n in (16, 28)),
    {"kind": "roof", "device": "cpu", "threads": 1, "what": "product", "dtype": "float32", "footprint": 0, "per_second": 1e11},
]  # fmt: skip


def _with_roofs(folder: Path, flops: int = 10_000) -> Path:
    items = records(TIMES, passes=("step",))
    work = [{"kind": "work", **group, "pass": "step", "flops": flops, "bytes": 5_000} for group in items[0]["groups"]]
    return write(folder, [*items, *ROOFS, *work])


def test_a_roofline_has_a_point_for_each_strategy_and_the_measured_rates(tmp_path: Path) -> None:
    found = findings(read(_with_roofs(tmp_path)))
    with mpl.rc_context(RC):
        styles = complete(
            {
                "plain": {"color": "#000000", "marker": "o", "dash": "-"},
                "hand": dict.fromkeys(("color", "marker", "dash")),
            }
        )
        figure = roofline.rooflines(found.roofs, found.run.of("roof"), styles, "one")
        assert figure is not None
        (axes,) = figure.axes
    points = {line.get_label(): line.get_xydata() for line in axes.lines if line.get_label() in TIMES[SIZES[0]]}
    assert np.asarray(points["plain"])[0] == pytest.approx([2.0, 10_000 / 2e-5 / 1e9], rel=0.02)
    assert np.asarray(points["hand"])[0] == pytest.approx([2.0, 10_000 / 1e-5 / 1e9], rel=0.02)
    highest = max(float(np.max(line.get_ydata())) for line in axes.lines)
    assert highest == pytest.approx(100)  # nothing is above the rate of products
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["280 GB/s, copies of 256 MiB", "160 GB/s, copies of 64 KiB"]


def test_the_launch_floor_is_drawn_where_it_is_near_and_said_in_any_case(tmp_path: Path) -> None:
    timing = findings(read(write(tmp_path, records(TIMES, passes=("step",))))).have.timing
    styles = {name: {"color": "#000000", "marker": "o", "dash": "-"} for name in set(timing["strategy"])}
    launch = {"device": "cpu", "threads": 1, "what": "launch"}
    for rate, inside in ((1e6, True), (1e8, False)):
        figure = plots.latencies(timing, [{**launch, "per_second": rate}], styles, "one")
        (axes,) = figure.axes
        assert bool(axes.get_ylim()[0] < 1e6 / rate) is inside
        assert [1e6 / rate] * 2 in [list(line.get_ydata()) for line in axes.lines]
        assert f"one operation on one number: {1e6 / rate:.2g} µs" in figure.get_suptitle().replace("\n", " ")
    other = plots.latencies(timing, [{**launch, "threads": 2, "per_second": 1e6}], styles, "one")
    assert "dotted" not in other.get_suptitle()


def test_there_is_no_roofline_without_roofs_or_without_operations(tmp_path: Path) -> None:
    names = lambda folder: {p.name for p in plots.plots_of(findings(read(folder))) if p.draw()}  # noqa: E731
    with mpl.rc_context(RC):
        assert "roofline-one" in names(_with_roofs(tmp_path / "a"))
        assert "roofline-one" not in names(_with_roofs(tmp_path / "b", flops=0))
        assert "roofline-one" not in names(write(tmp_path / "c", records(TIMES)))


def test_of_many_groups_each_series_shows_its_first_ones(tmp_path: Path) -> None:
    times = {f"N={2**n},D=4": {"plain": 1e-5} for n in range(1, 12)}
    items = records(times, passes=("step",), launches=1)
    items[0]["groups"] += [{**group, "threads": 2} for group in items[0]["groups"]]
    timing = findings(read(write(tmp_path, items))).have.timing
    kept, said = telling(timing)
    groups = kept[["dims", "threads"]].drop_duplicates()
    assert said == f"\n{MOST_GROUPS} of 22 are drawn; the table has all"
    assert list(groups.groupby("threads").size()) == [MOST_GROUPS // 2] * 2
    assert set(groups["dims"]) == set(list(times)[: MOST_GROUPS // 2])
    few = timing[timing["dims"].isin(list(times)[: MOST_GROUPS // 2])]
    same, nothing = telling(few)
    assert same is few
    assert nothing == ""


def test_groups_of_which_nothing_was_measured_are_counted_and_not_drawn(tmp_path: Path) -> None:
    items = [i for i in records(TIMES) if i["kind"] != "samples" or i["dims"] != SIZES[1]]
    found = findings(read(write(tmp_path, items)))
    with mpl.rc_context(RC):
        (figure,) = (plot.draw() for plot in plots.plots_of(found) if plot.name == "speedup-one")
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [t.replace(" ", ",") for t in titles if "D=" in t and SIZES[0] in t.replace(" ", ",")]
    assert not [t for t in titles if SIZES[1] in t.replace(" ", ",")]
    assert "1 more was not measured" in "".join(text.get_text() for text in figure.texts)


def test_against_size_stand_measured_series_only(tmp_path: Path) -> None:
    items = records(TIMES, passes=("step",))
    items[0]["groups"] += [{**group, "threads": 2} for group in items[0]["groups"]]

    def drawn(folder: Path, *sizes: str) -> dict[str, int]:
        kept = [i for i in items if i["kind"] != "samples" or i["dims"] in sizes]
        planned = plots.plots_of(findings(read(write(folder, kept))))
        with mpl.rc_context(RC):
            found = {p.name: p.draw() for p in planned if p.name in ("ratio-one", "latency-one")}
        return {name: len(figure.axes) for name, figure in found.items() if figure}

    assert drawn(tmp_path / "both", *SIZES[:2]) == {"ratio-one": 1, "latency-one": 1}
    assert drawn(tmp_path / "one", SIZES[0]) == {"latency-one": 1}


def test_the_map_counts_rows_and_columns_that_there_was_no_time_for(tmp_path: Path) -> None:
    items = [i for i in records(TIMES, passes=("step",)) if i["kind"] != "samples" or i["dims"] != SIZES[1]]
    late = {"kind": "status", "status": "skipped", "reason": "left out to stay within 20 min", "stage": "budget", "pass": "",
            **items[0]["groups"][1]}  # fmt: skip
    names = [item["strategy"] for item in items if item["kind"] == "strategy"]
    found = findings(read(write(tmp_path, [*items, *({**late, "strategy": name} for name in names)])))
    with mpl.rc_context(RC):
        (figure,) = (plot.draw() for plot in plots.plots_of(found) if plot.name == "decision-one")
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text().replace("\n", ",") for label in axes.get_xticklabels()] == [SIZES[0]]
    assert "1 more was left out for time" in "".join(text.get_text() for text in figure.texts)


def test_every_file_of_a_figure_has_the_same_layout_and_the_same_bytes_again(tmp_path: Path) -> None:
    def figure() -> Figure:
        made = Figure(figsize=(3, 2))
        made.subplots().set_xlabel("size")
        made.suptitle("a title")
        return made

    with mpl.rc_context(RC):
        one = figure()
        paths = save(one, tmp_path / "a", pdf=True)
        place = one.axes[0].get_position().bounds
        assert [p.suffix for p in paths] == [".svg", ".png", ".pdf"]
        assert one.get_layout_engine() is None
        inline(paths[0].read_text(), "f0-")
        assert one.axes[0].get_position().bounds == place
        again = save(figure(), tmp_path / "b", pdf=True)
        assert [p.suffix for p in save(figure(), tmp_path / "c")] == [".svg", ".png"]
    digests = [[hashlib.sha256(p.read_bytes()).hexdigest() for p in files] for files in (paths, again)]
    assert digests[0] == digests[1]
    assert b"CreationDate" not in paths[2].read_bytes()
    with Image.open(paths[1]) as picture:
        assert picture.mode == "P"
    drawn = paths[0].read_text()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn)) == set(re.findall(r' id="([^"]+)"', drawn))


def test_a_place_that_differs_in_its_last_bit_makes_the_same_file() -> None:
    def drawn(left: float) -> str:
        made = Figure(figsize=(3, 2))
        made.add_axes((left, 0.2, 0.8, 0.7)).plot([1, 2], [3, 4], marker="o")
        return _svg(made)

    with mpl.rc_context(RC | {"figure.constrained_layout.use": False}):
        one = drawn(0.1)
        assert "clip-path" in one
        assert drawn(0.1 + 2e-16) == one
        assert drawn(0.11) != one


@pytest.mark.parametrize("sizes", [(1.68e7, 1.34e8), (7e5, 1.5e6), (2e5, 3e7), (40, 500), (1e4, 1.3e5)])
def test_labels_of_sizes_have_room_in_a_panel(sizes: tuple[float, float]) -> None:
    with mpl.rc_context(RC):
        made = Figure(figsize=(2.4, 2))
        axes = made.subplots()
        axes.plot(sizes, [1, 2])
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        FigureCanvasAgg(made).draw()
        low, high = axes.get_xlim()
        shown = [t for t in axes.xaxis.get_major_ticks() if low <= t.get_loc() <= high]
        boxes = [t.label1.get_window_extent() for t in shown]
    assert boxes
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_large_sizes_are_labelled_by_whole_powers() -> None:
    with mpl.rc_context(RC):
        made = Figure(figsize=(3, 2))
        axes = made.subplots()
        axes.plot([2.1e7, 4e7], [1, 2])
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        labels = [axes.xaxis.get_major_formatter()(x) for x in (1e5, 2e7, 5e7, 3000.0)]
    assert labels == [
        r"$\mathdefault{10^{5}}$",
        r"$\mathdefault{2\times10^{7}}$",
        r"$\mathdefault{5\times10^{7}}$",
        "3000",
    ]
