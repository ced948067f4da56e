"""Several runs beside each other: each one's ratios to its own baseline, and which verdicts hold in all of them.

Nothing is averaged over runs, and no time of one is held against another's: machines differ in everything that a time
depends on. A ratio is within one run, so ratios may stand side by side; that they differ is no error of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from harness.analyse.doubts import NO_VERDICT
from harness.analyse.findings import Findings
from harness.analyse.frames import WAIVED
from harness.analyse.launches import baseline_of

CASE = ["layer", "dims", "dtype", "pass", "strategy"]
SERIES = ["run", "device", "threads"]
SETTLED = ("faster", "slower", "tie")
OPEN = {"inconclusive", "no baseline", NO_VERDICT}
OTHER_BASELINES = "other baselines"


@dataclass(frozen=True)
class SideBySide:
    """Runs and what they say of the same cases.

    Attributes:
        runs: findings by letter; ``names`` are those of their folders.
        cases: one row for each planned case × run × device × threads, baselines left out: ``CASE``, ``SERIES``,
            ``status``, ``reason``, ``ratio``, ``ratio_low``, ``ratio_high``, ``verdict``, ``launches``, and ``on_all``
            (the same for all rows of a case: see ``agreement``, or ``other baselines`` where the runs that have
            measured it held it against different code).
        picks: one row for each planned group × pass × run: ``CASE`` without strategy, ``SERIES``, ``pick``,
            ``confidence``, and ``on_all``.
        notes: what else differs between the runs: source, software, baselines.
    """

    runs: dict[str, Findings]
    names: dict[str, str]
    cases: pd.DataFrame
    picks: pd.DataFrame
    notes: tuple[str, ...]


def side_by_side(runs: Sequence[Findings], names: Sequence[str]) -> SideBySide:
    """Put runs beside each other.

    Args:
        names: of their folders, in the same order.
    """
    lettered = {_letter(i): found for i, found in enumerate(runs)}
    timing = pd.concat([found.have.timing.assign(run=letter) for letter, found in lettered.items()])
    cases = timing[timing["verdict"] != "baseline"]
    columns = ["status", "reason", "ratio", "ratio_low", "ratio_high", "verdict", "launches"]
    cases = cases[[*CASE, *SERIES, *columns]].reset_index(drop=True)
    cases["on_all"] = ""
    for case, same in cases.groupby(CASE, sort=False):
        measured = same[same["status"] == "ok"]
        alike = len({baseline_of(lettered[run].run, str(case[0])) for run in measured["run"]}) < 2
        words = same["verdict"].where(same["status"] == "ok", "")
        given = next((w for w in words if w.startswith(WAIVED)), "")  # no verdict, so there is nothing to agree on
        on_all = given or (agreement(same["run"], words, len(runs)) if alike else OTHER_BASELINES)
        cases.loc[same.index, "on_all"] = on_all
    picks = pd.concat([found.winners.assign(run=letter) for letter, found in lettered.items()])
    picks = picks[[*CASE[:-1], *SERIES, "pick", "confidence"]].reset_index(drop=True)
    picks["on_all"] = ""
    for _, same in picks.groupby(CASE[:-1], sort=False):
        words = same["pick"].where(same["confidence"] != "unsettled", "inconclusive")
        picks.loc[same.index, "on_all"] = agreement(same["run"], words, len(runs))
    folders = {_letter(i): name for i, name in enumerate(names)}
    return SideBySide(lettered, folders, cases, picks, tuple(_notes(lettered)))


def _letter(number: int) -> str:
    """A, B, … Z, A2, B2, …"""
    return chr(ord("A") + number % 26) + (str(number // 26 + 1) if number >= 26 else "")


def agreement(runs: Iterable[str], words: Iterable[str], count: int) -> str:
    """What verdicts (or picks) on one case have in common.

    Args:
        runs: that of each word; a run has several where it has several devices or numbers of threads.
        words: empty where it was not measured.
        count: of all runs, those among them that do not plan the case.

    Returns:
        The word itself where all runs say it; ``… where measured`` where some have not measured it; ``differs`` where
        two settled ones disagree; ``not settled`` where some are inconclusive; ``one run only`` and ``not measured``
        where there is nothing to compare.
    """
    said = list(zip(runs, words, strict=True))
    measured = [word for _, word in said if word]
    have = {run for run, word in said if word}
    if len(have) < 2:
        return "one run only" if have else "not measured"
    settled = set(measured) - OPEN
    if len(settled) > 1:
        return "differs"
    if OPEN & set(measured):
        return "not settled"
    (word,) = settled
    return word if len(measured) == len(said) and len(have) == count else f"{word} where measured"


def _notes(runs: dict[str, Findings]) -> Iterator[str]:
    headers = {letter: found.run.of("run")[0] for letter, found in runs.items()}
    for (one, a), (other, b) in combinations(headers.items(), 2):
        for what, field in (("source", "digests"), ("software", "stack")):
            left, right = a.get(field, {}), b.get(field, {})
            changed = sorted(name for name in left.keys() & right.keys() if left[name] != right[name])
            if changed:
                yield f"{one} and {other} differ in {what}: {', '.join(changed)}"
        for layer in sorted(a["baselines"].keys() & b["baselines"].keys()):
            if a["baselines"][layer] != b["baselines"][layer]:
                yield (
                    f"{one} and {other} have other baselines of {layer}, so their ratios mean different things: "
                    f"{a['baselines'][layer]} and {b['baselines'][layer]}"
                )
