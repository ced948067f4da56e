"""Every strategy against every other in one group and pass, so that a choice can be made among all of them.

The main table compares with the baseline only; a choice compares the fastest with each of the others, and which one
that is is seen in the same data. So its intervals hold for all pairs of a group together: by Bonferroni's inequality
with n · (n − 1) ÷ 2 comparisons (see statistics.py). They are wider than the main table's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from statistics import fmean, geometric_mean
from typing import Any, Literal

from harness.analyse.launches import Arms, differences
from harness.analyse.statistics import Interval, interval, margin, verdict
from harness.records.store import Run

Key = tuple[Any, ...]
"""Layer, dims, dtype, device, threads, pass."""

FIRST_CALL_DOUBT = 1.25
"""A cold first call is measured once and has no interval; it is taken to be right within this factor."""

Confidence = Literal["only", "clear", "tie", "unsettled"]


@dataclass(frozen=True)
class Contest:
    """One group × pass.

    Attributes:
        seconds: of a call, the median of each launch, by strategy.
        paired: log-ratio of the times of two strategies in each launch that both were in.
        band: half-width of the tie band, in log-ratio.
        comparisons: pairs that the intervals hold for together, times the looks at the data.
    """

    seconds: Mapping[str, Mapping[int, float]]
    paired: Mapping[tuple[str, str], Mapping[int, float]]
    band: float
    comparisons: int


@dataclass(frozen=True)
class Comparison:
    """One strategy's cost over another's, as a ratio with its interval, and what that means."""

    ratio: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Ranking:
    """The outcome of a contest.

    Attributes:
        pick: the simplest of the cheapest and of those that tie with it.
        cheapest: by estimate.
        against: every other candidate's cost over the pick's, cheapest first.
        confidence: ``clear`` (all others are shown to cost more), ``tie`` (some are equal, none is cheaper), ``only``
            (there is no other), or ``unsettled``.
        unsettled: those that may yet be cheaper than the pick, or as cheap and simpler.
    """

    pick: str
    cheapest: str
    against: Mapping[str, Comparison]
    confidence: Confidence
    unsettled: tuple[str, ...] = ()


def contests(run: Run, measured: Arms) -> dict[Key, Contest]:
    """The contest of every planned group × pass; what was not measured has no strategies in it.

    Args:
        measured: ``launches_of(run)``.
    """
    found, looks = {}, int(run.of("run")[0].get("looks", 1))
    for key, arms in measured.items():
        own = {strategy: launches for (strategy, again), launches in arms.items() if not again and launches}
        baseline = run.of("run")[0]["baselines"].get(key[0], "")
        again = differences(arms.get((baseline, True), {}), own.get(baseline, {}))
        noise = interval(list(again.values()), 1) if again else None
        found[key] = Contest(
            {name: {launch: s.median for launch, s in launches.items()} for name, launches in own.items()},
            {(a, b): differences(own[a], own[b]) for a, b in permutations(own, 2)},
            margin(key[3], noise),
            looks * max(1, len(own) * (len(own) - 1) // 2),
        )
    return found


def between(lower: Contest, upper: Contest, weight: float) -> Contest:
    """A contest at a size that was not measured: log-linear between two that were, for those that are in both.

    Its intervals hold the noise of measuring, and nothing of how wrong a straight line may be.
    """

    def mix(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
        return {launch: (1 - weight) * a[launch] + weight * b[launch] for launch in a.keys() & b.keys()}

    def logs(seconds: Mapping[int, float]) -> dict[int, float]:
        return {launch: math.log(s) for launch, s in seconds.items()}

    names = [name for name in lower.seconds if name in upper.seconds]
    seconds = {n: mix(logs(lower.seconds[n]), logs(upper.seconds[n])) for n in names}
    return Contest(
        {n: {launch: math.exp(x) for launch, x in found.items()} for n, found in seconds.items()},
        {pair: mix(lower.paired[pair], upper.paired[pair]) for pair in permutations(names, 2)},
        max(lower.band, upper.band),
        max(lower.comparisons, upper.comparisons),
    )


def by_time(contest: Contest) -> Callable[[str, str], Comparison]:
    """Compares two strategies by the time of a call."""

    def compare(a: str, b: str) -> Comparison:
        found = contest.paired[a, b]
        return _judged(interval(list(found.values()), contest.comparisons) if found else None, contest.band)

    return compare


def by_total(contest: Contest, first: Mapping[str, float], steps: int) -> Callable[[str, str], Comparison]:
    """Compares two strategies by the time of a process's first ``steps`` calls, compilation included.

    Args:
        first: seconds of the cold first call, by strategy.
    """

    def log_ratios(a: str, b: str, doubt: float) -> list[float]:
        found = []
        for launch, difference in contest.paired[a, b].items():
            t = contest.seconds[b][launch]
            own = first[a] * doubt + (steps - 1) * t * math.exp(difference)
            found.append(math.log(own / (first[b] / doubt + (steps - 1) * t)))
        return found

    def compare(a: str, b: str) -> Comparison:
        middle, low, high = (log_ratios(a, b, doubt) for doubt in (1.0, 1 / FIRST_CALL_DOUBT, FIRST_CALL_DOUBT))
        if not middle:
            return _judged(None, contest.band)
        if steps == 1:
            return _judged(Interval(middle[0], low[0], high[0], len(middle)), contest.band)
        ends = interval(low, contest.comparisons).low, interval(high, contest.comparisons).high
        return _judged(Interval(fmean(middle), *ends, len(middle)), contest.band)

    return compare


def by_bytes(held: Mapping[str, float], band: float = math.log(1.01)) -> Callable[[str, str], Comparison]:
    """Compares two strategies by bytes, which repeat exactly; within 1 % is a tie."""

    def compare(a: str, b: str) -> Comparison:
        theta = math.log((held[a] + 1) / (held[b] + 1))
        return _judged(Interval(theta, theta, theta, 1), band)

    return compare


def _judged(found: Interval | None, band: float) -> Comparison:
    if found is None:
        return Comparison(math.nan, math.nan, math.nan, "inconclusive")
    word = verdict(found, band)
    return Comparison(math.exp(found.theta), math.exp(found.low), math.exp(found.high), word)


def rank(
    candidates: Sequence[str],
    compare: Callable[[str, str], Comparison],
    band: float,
) -> Ranking:
    """Choose among candidates.

    Args:
        candidates: in order of simplicity, the simplest first; at least one.
        compare: the cost of the first over the second's; the cheapest has the lowest geometric mean over the others'.
        band: half-width of the tie band, in log-ratio.
    """
    compare = cache(compare)
    place = {name: i for i, name in enumerate(candidates)}
    ratios = {a: [r for b in candidates if a != b and (r := compare(a, b).ratio) > 0] for a in candidates}
    cost = {name: geometric_mean(own) if own else math.inf for name, own in ratios.items()}
    cheapest = min(candidates, key=lambda name: (cost[name], place[name]))
    words = {name: compare(name, cheapest).verdict for name in candidates if name != cheapest}
    pick = min([cheapest, *(name for name, word in words.items() if word == "tie")], key=place.__getitem__)
    others = sorted((name for name in candidates if name != pick), key=lambda name: (cost[name], place[name]))
    against = {name: compare(name, pick) for name in others}

    def may_win(name: str) -> bool:
        if name == cheapest or words[name] in ("slower", "tie"):
            return False
        lowest = against[name].low
        return place[name] < place[pick] or not lowest >= math.exp(-band)

    open_ones = tuple(name for name in others if may_win(name))
    if open_ones:
        return Ranking(pick, cheapest, against, "unsettled", open_ones)
    if not others:
        return Ranking(pick, cheapest, against, "only")
    clear = all(found.verdict == "slower" for found in against.values())
    return Ranking(pick, cheapest, against, "clear" if clear else "tie")
