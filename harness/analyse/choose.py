"""The choice for one layer, size, dtype, device and pass: which strategy, how sure that is, and why not the others.

The rule: among those that passed the gate, meet what is required and were measured, take the cheapest; where others tie
with it, the simplest of them (the strategies' own ``simplicity``, lower is simpler). What is not settled is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from harness.analyse import contending, frames, requirements
from harness.analyse.contending import Costs, Evidence, Field, Question
from harness.analyse.costs import FIRST_CALL
from harness.analyse.launches import GROUP, planned
from harness.analyse.pairs import FIRST_CALL_DOUBT, Comparison, Ranking, by_time
from harness.analyse.sizes import Place, place
from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.records.dims import dims_of, dims_text, options_text, sizes_of
from harness.records.modes import KNOWN_PASSES
from harness.records.store import Record


class QuestionError(ValueError):
    """A question about something that the run does not hold; one clear line with what it does hold."""


@dataclass(frozen=True)
class SizeChange:
    """Two neighbouring measured sizes with different picks.

    Attributes:
        crossing: where the two cost the same, as a share of the way between the sizes (of their logarithm); NaN where
            the straight line between them does not cross.
        settled: whether both picks are.
    """

    lower: str
    upper: str
    below: str
    above: str
    crossing: float
    settled: bool


@dataclass(frozen=True)
class Earned:
    """The number of calls after which a strategy has earned its dearer first call against another."""

    strategy: str
    other: str
    calls: float


@dataclass(frozen=True)
class Answer:
    """The answer to a question, whose fields are all filled in.

    Attributes:
        ranking: None where no strategy is left.
        standings: costs of those that could be chosen, the pick first, then the cheapest first.
        summaries: what each strategy is, by name, in order of simplicity.
        ends: the picks at the measured sizes on both sides, where the answer is interpolated.
        rejected: why each of the others cannot be chosen.
        pareto: those that no other is shown to beat in time and memory, the fastest first.
        baseline: its name, and the pick's cost over its; None where that is the pick or was not measured.
        band: half-width of the tie band, as a ratio − 1.
        notes: what the reader must know to doubt it.
        waived: words of those that were timed though the gate refused them, by name.
    """

    question: Question
    place: Place
    ranking: Ranking | None
    standings: Mapping[str, Costs] = field(default_factory=dict)
    summaries: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    pareto: Sequence[str] = ()
    changes: Sequence[SizeChange] = ()
    baseline: tuple[str, Comparison] | None = None
    break_even: Sequence[Earned] = ()
    launches: int = 0
    band: float = math.nan
    notes: Sequence[str] = ()
    waived: Mapping[str, str] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether there is a pick, and nothing that may yet beat it."""
        return self.ranking is not None and self.ranking.confidence != "unsettled"


def choose(have: Evidence, question: Question) -> Answer:
    """Answer a question.

    Raises:
        QuestionError: the run holds nothing of the kind.
        UnknownRequirementError: something is required that is not known.
        OutsideError: the size is outside of what was measured.
    """
    question, series = complete(have, replace(question, require=requirements.known(question.require)))
    measured = [dims for dims in series if dims == question.dims or have.contests[question.at(dims)].seconds]
    where = place(question.dims, measured or series)  # where there is no datum at all, the answer has the reasons
    out = contending.excluded(have, question)
    ends = {dims: contending.at(have, question, dims, out) for dims in dict.fromkeys((where.lower, where.upper))}
    one = ends[where.lower]
    if not where.measured:
        one = contending.between(ends[where.lower], ends[where.upper], where.weight)
    one = contending.limited(one)
    ranking = one.ranking()
    notes: list[str] = []
    picks: dict[str, str] = {}
    if ranking is not None and not where.measured:
        sides = {dims: contending.limited(end).ranking() for dims, end in ends.items()}
        ranking = _doubted(ranking, sides, notes)
        picks = {dims: end.pick if end else "none" for dims, end in sides.items()}
    facts = sorted(
        (r for r in have.run.of("strategy") if r["layer"] == question.layer),
        key=lambda r: (r["simplicity"], r["strategy"]),
    )
    answer = Answer(
        question,
        where,
        ranking,
        summaries={r["strategy"]: r.get("summary", "") for r in facts},
        ends=picks,
        rejected=dict(one.barred),
        band=contending.SAME_BYTES - 1 if question.objective == "memory" else math.expm1(one.contest.band),
        launches=max((len(s) for s in one.contest.seconds.values()), default=0),
        notes=(*notes, *_notes(have, question, one)),
        waived={
            name: words
            for (layer, name, device), words in frames.waivers(have.run).items()
            if (layer, device) == (question.layer, question.device) and name in one.costs
        },
    )
    if ranking is None:
        return answer
    return replace(
        answer,
        standings={name: one.costs[name] for name in (ranking.pick, *ranking.against)},
        pareto=one.pareto(),
        changes=list(_changes(have, question, series, out)),
        baseline=_over_baseline(have, one, ranking.pick),
        break_even=list(_earned(one, ranking.pick)),
    )


def complete(have: Evidence, question: Question) -> tuple[Question, list[str]]:
    """Fill in what was left open; and the planned sizes of that layer, its options, dtype, device and threads.

    Raises:
        QuestionError: with what there is to choose from.
    """
    every: list[Record] = [dict(zip([*GROUP, "pass"], key, strict=True)) for key in planned(have.run)]
    left = [g for g in every if g["layer"] == question.layer]
    if not left:
        raise QuestionError(_choose("layer", question.layer, [g["layer"] for g in every]))
    passes = sorted({g["pass"] for g in left}, key=KNOWN_PASSES.index)
    passed = question.passed or (FIRST_CALL if FIRST_CALL in passes else passes[-1])
    if passed not in passes:
        raise QuestionError(_choose("pass", passed, passes))
    groups = left = [g for g in left if g["pass"] == passed]
    for name, asked in (("device", question.device), ("dtype", question.dtype), ("threads", question.threads)):
        if asked and not any(g[name] == asked for g in left):
            raise QuestionError(
                _choose("number of threads" if name == "threads" else name, asked, [g[name] for g in left])
            )
        left = [g for g in left if not asked or g[name] == asked]
    dims = _dims(question.dims, left[0]["dims"]) if question.dims else left[0]["dims"]
    first = next((g for g in left if g["dims"] == dims), left[0])
    if question.steps and question.objective != "latency":
        raise QuestionError(f"--steps counts time: leave it out with --objective {question.objective}")
    kept = {k: first[k] for k in ("dtype", "device", "threads")}
    same = [g["dims"] for g in groups if all(g[k] == v for k, v in kept.items())]
    options = options_text(dims)
    if all(options_text(d) != options for d in same):
        raise QuestionError(_choose("size with", options, [options_text(d) for d in same]))
    same = [d for d in same if options_text(d) == options]
    return replace(question, dims=dims, passed=passed, **kept), sorted(same, key=frames.size)


def _dims(asked: str, like: str) -> str:
    """The asked dims in the layer's own order."""
    names = list(dims_of(like))
    try:
        given = dims_of(asked)
    except ValueError:
        given = {}
    if set(given) != set(names) or any(size < 1 for size in sizes_of(asked).values()):
        raise QuestionError(f"--dims {asked}: give each of {', '.join(names)} a size, such as {like}")
    return dims_text({name: given[name] for name in names})


def _choose(what: str, asked: object, there: Sequence[object]) -> str:
    known = ", ".join(str(x) for x in dict.fromkeys(there))
    return f"this run has no {what} {asked!r}: choose from {known}" if known else f"this run has no {what} at all"


def _doubted(ranking: Ranking, ends: Mapping[str, Ranking | None], notes: list[str]) -> Ranking:
    """Between two sizes, a pick is as good as those at the two."""
    said = [
        f"{end.pick} ({'not settled' if end.confidence == 'unsettled' else 'settled'}) at {dims}"
        for dims, end in ends.items()
        if end is not None
    ]
    notes.append(f"interpolated; measured: {', '.join(said)}; the interval holds no error of the interpolation")
    if all(end is not None and end.pick == ranking.pick for end in ends.values()):
        return ranking
    rivals = [end.pick for end in ends.values() if end is not None and end.pick != ranking.pick]
    known = [name for name in dict.fromkeys((*ranking.unsettled, *rivals)) if name in ranking.against]
    return replace(ranking, confidence="unsettled", unsettled=tuple(known))


def _notes(have: Evidence, question: Question, one: Field) -> Sequence[str]:
    notes = []
    launches = {len(s) for s in one.contest.seconds.values()}
    if launches and max(launches) < FEWEST_LAUNCHES and question.objective == "latency":
        notes.append(f"{max(launches)} of {FEWEST_LAUNCHES} launches: there is no interval, and nothing is settled")
    if question.calls:
        places = sorted({one.first_at[name] for name in one.candidates if name in one.first_at})
        elsewhere = [where for where in places if where != f"{question.dims} {question.dtype}"]
        at = f" (at {', '.join(elsewhere)}, not here)" if elsewhere else ""
        notes.append(
            f"first calls were measured once, from a cold start{at}; they count as right within a factor of"
            f" {FIRST_CALL_DOUBT:g}"
        )
    if question.objective == "memory" or question.max_memory is not None:
        notes.append("memory is what torch's allocator held above parameters and inputs, exact to the byte")
    if have.run.warnings:
        notes.append(f"{len(have.run.warnings)} damaged lines of the records were left out")
    flags = {row.strategy: row.flags for row in have.status.get(question.at(question.dims), ()) if row.flags}
    for name in one.candidates:
        if name in flags:
            notes.append(f"{name}'s samples are flagged: {flags[name].replace('_', ' ')}")
    return notes


def _changes(have: Evidence, question: Question, series: Sequence[str], out: Mapping[str, str]) -> Sequence[SizeChange]:
    found = []
    here = [(dims, contending.limited(contending.at(have, question, dims, out))) for dims in series]
    ranked = [(dims, one, ranking) for dims, one in here if (ranking := one.ranking()) is not None]
    for (lower, a, below), (upper, b, above) in pairwise(ranked):
        if below.pick == above.pick:
            continue
        pair = (below.pick, above.pick)
        ratios = [one.compare(*pair).ratio if set(pair) <= one.costs.keys() else math.nan for one in (a, b)]
        start, end = (math.log(r) if r > 0 else math.nan for r in ratios)
        crossing = start / (start - end) if start < 0 < end else math.nan
        settled = "unsettled" not in (below.confidence, above.confidence)
        found.append(SizeChange(lower, upper, *pair, crossing, settled))
    return found


def _over_baseline(have: Evidence, one: Field, pick: str) -> tuple[str, Comparison] | None:
    name = have.baselines.get(one.question.layer, "")
    if name == pick or name not in one.costs:
        return None
    found = one.compare(pick, name)
    return None if math.isnan(found.ratio) else (name, found)


def _earned(one: Field, pick: str) -> Sequence[Earned]:
    """Where a dearer first call buys a shorter time, and that is shown: the pick's against others', and theirs."""
    found = []
    compare = by_time(one.contest)
    for other in one.candidates:
        for a, b in ((pick, other), (other, pick)) if other != pick else ():
            dearer = one.costs[a].first > FIRST_CALL_DOUBT**2 * one.costs[b].first
            shown = compare(a, b)
            if dearer and shown.verdict == "faster":
                gain = (1 - shown.ratio) * one.costs[b].latency
                found.append(Earned(a, b, 1 + (one.costs[a].first - one.costs[b].first) / gain))
    return found
