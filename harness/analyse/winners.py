"""The pick of every planned group × pass, for a map; and a line for each layer that says when to use what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set
from itertools import combinations

import pandas as pd

from harness.analyse import contending, frames
from harness.analyse.contending import Evidence, Question
from harness.analyse.launches import GROUP, planned
from harness.records.dims import options_text
from harness.records.modes import KNOWN_PASSES, pass_words

AXES = ["pass", "dtype", "device", "threads", "dims"]
MOST_RULES = 4
NO_TIME, NOT_PLANNED = "left out for time", "not planned in this run"
"""Why a cell is empty that no strategy has failed in."""
COLUMNS = [
    *GROUP, "pass", "pick", "confidence", "runner_up", "ratio", "ratio_low", "ratio_high", "ties", "unsettled",
    "margin", "launches", "reason",
]  # fmt: skip


def winners(have: Evidence) -> pd.DataFrame:
    """One row for each layer × device × threads × dtype × pass × dims of the run, planned together or not.

    Columns: the case without its strategy; ``pick``, ``confidence``, ``ties`` and ``unsettled`` (names, see pairs.py);
    ``runner_up`` and its time over the pick's with interval; ``margin`` (half-width of the tie band, a ratio − 1);
    ``launches``; ``reason`` where there is no pick.
    """
    rows = []
    groups = pd.DataFrame(planned(have.run), columns=[*GROUP, "pass"])
    no_time = {tuple(r[k] for k in GROUP) for r in have.run.of("status") if r["stage"] == "budget"}
    for layer, own in groups.groupby("layer", sort=False):
        out = {d: contending.excluded(have, Question(str(layer), device=d)) for d in own["device"].unique()}
        series = own[["device", "threads", "dtype", "pass"]].drop_duplicates()
        series = series.assign(place=series["pass"].map(KNOWN_PASSES.index))
        for _, same in series.groupby(["device", "threads", "dtype"], sort=False):
            for line in frames.rows_of(same.sort_values("place")):
                sizes = own.loc[own["device"] == line.device, "dims"].drop_duplicates()
                for dims in sorted(sizes, key=lambda dims: (options_text(dims), frames.size(dims))):
                    question = Question(str(layer), dims, line.dtype, line.device, line.threads, line.passed)
                    rows.append([*question.at(dims), *_row(have, question, out[line.device], no_time)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(have: Evidence, question: Question, out: dict[str, str], no_time: Set[tuple[object, ...]]) -> list[object]:
    nothing = ["", "", "", math.nan, math.nan, math.nan, "", "", math.nan, 0]
    if question.at(question.dims) not in have.contests:
        return [*nothing, NOT_PLANNED]
    one = contending.at(have, question, question.dims, out)
    ranking = one.ranking()
    if ranking is None and question.at(question.dims)[:-1] in no_time:
        return [*nothing, NO_TIME]
    if ranking is None:
        return [*nothing, "; ".join(f"{name}: {why}" for name, why in one.barred.items())]
    name, found = next(iter(ranking.against.items()), ("", None))
    numbers = [math.nan] * 3 if found is None else [found.ratio, found.low, found.high]
    ties = " ".join(n for n, c in ranking.against.items() if c.verdict == "tie")
    launches = max(len(s) for s in one.contest.seconds.values())
    margin = math.expm1(one.contest.band)
    rest = [ties, " ".join(ranking.unsettled), margin, launches, ""]
    return [ranking.pick, ranking.confidence, name, *numbers, *rest]


def use_when(rows: pd.DataFrame) -> str:
    """One plain sentence for a layer: what to use when, by the settled cells; and how many are not.

    Args:
        rows: of the frame above, of one layer.
    """
    measured = rows[rows["pick"] != ""]
    if measured.empty:
        return "Nothing was measured."
    sure = measured[measured["confidence"] != "unsettled"]
    left = len(measured) - len(sure)
    doubt = f" Not settled in {left} of {len(measured)} cases." if left else ""
    if sure.empty:
        likely = Counter(measured["pick"]).most_common(1)[0][0]
        return f"Nothing is settled; {likely} is most often the likely best.{doubt}"
    picks = [name for name, _ in Counter(sure["pick"]).most_common()]
    if not picks[1:]:
        if not left:
            cases = f"all {len(sure)} cases that were" if len(sure) > 1 else "the one case that was"
            return f"Use {picks[0]} in {cases} measured."
        if len(sure) == 1:
            where = _where(measured, measured["confidence"] != "unsettled")
            return f"Use {picks[0]} {where}, the one case that is settled.{doubt}"
        return f"Use {picks[0]} in all {len(sure)} cases that are settled.{doubt}"
    rest = [f"{name} {_where(sure, sure['pick'] == name)}" for name in picks[1:]]
    return f"Use {picks[0]}, but {'; '.join(rest)}.{doubt}"


def _where(rows: pd.DataFrame, mine: pd.Series[bool]) -> str:
    """The cells of a pick by as few values of as few axes as tell them from all others."""
    several = [axis for axis in AXES if rows[axis].nunique() > 1]
    left, rules = set(rows.index[mine]), []
    for count in range(1, len(several) + 1):
        found = [
            (" ".join(_named(axis, value) for axis, value in zip(axes, values, strict=True)), set(same.index))
            for axes in combinations(several, count)
            for values, same in rows.groupby(list(axes), sort=False)
        ]
        found = [(words, cells) for words, cells in found if cells <= set(rows.index[mine])]
        while new := [(words, cells) for words, cells in found if cells & left]:
            words, cells = max(new, key=lambda rule: len(rule[1] & left))
            rules.append(words)
            left -= cells
    rules = [rule if rule.startswith(("at ", "with ")) else f"for {rule}" for rule in rules]
    return " and ".join(rules) if len(rules) <= MOST_RULES else f"in {int(mine.sum())} cases (see the map)"


def _named(axis: str, value: object) -> str:
    if axis == "threads":
        return f"with {value} thread{'s' if value != 1 else ''}"
    return f"at {value}" if axis == "dims" else pass_words(str(value))
