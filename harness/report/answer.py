"""The answer to a choice in words: one sentence first, then what it is compared with, and what is against it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.analyse.choose import Answer
from harness.analyse.contending import Question, in_bytes
from harness.analyse.pairs import Comparison
from harness.records.dims import options_text, sizes_of
from harness.records.modes import pass_words
from harness.report.numbers import cost_ratio, in_time


def where(question: Question) -> str:
    """The case in words."""
    threads = f", {question.threads} thread{'s' if question.threads > 1 else ''}" if question.device == "cpu" else ""
    passed = pass_words(question.passed)
    return f"{question.layer} at {question.dims}, {question.dtype}, {question.device}{threads}, {passed}"


def sentence(answer: Answer) -> str:
    """The recommendation with its margin and interval, and how sure it is."""
    ranking, question = answer.ranking, answer.question
    if ranking is None and not answer.launches:
        return f"Nothing was measured for {where(question)}."
    if ranking is None:
        return f"No strategy for {where(question)} is known to do all that is required."
    own = answer.standings[ranking.pick]
    cost = in_bytes(own.held) if question.objective == "memory" else in_time(own.total)
    what = (
        "needed by the pass" if question.objective == "memory"
        else "for the first call" if question.objective == "first_step"
        else f"for {question.steps:,} calls, the first one included" if question.steps
        else "a call"
    )  # fmt: skip
    guess = "" if answer.place.measured else "about "
    head = f"Use {_named(answer, ranking.pick)} for {where(question)}: {guess}{cost} {what}"
    if answer.baseline:
        name, found = answer.baseline
        head += f", {_inverse(found)} {better(question)} the baseline {name}"
    guess = "" if answer.place.measured else " (interpolated)"
    return f"{head}{guess}. {_confidence(answer)}"


def _confidence(answer: Answer) -> str:
    ranking = answer.ranking
    assert ranking is not None
    others = list(ranking.against.items())
    if ranking.confidence == "only":
        return "No other strategy is left to compare it with."
    name, nearest = others[0]
    if ranking.confidence == "clear":
        return f"Clear: the next, {_named(answer, name)}, {_costs(answer.question, nearest)}."
    if ranking.confidence == "tie":
        ties = [other for other, found in others if found.verdict != "slower"]
        word = "A tie with" if all(ranking.against[o].verdict == "tie" for o in ties) else "Not beaten by"
        said = [f"{_named(answer, other)} ({_costs(answer.question, ranking.against[other])})" for other in ties]
        return f"{word} {_list(said)}, tie band ±{100 * answer.band:.1f} %; it is the simplest of them."
    other = [f"{pick} at {dims}" for dims, pick in answer.ends.items() if pick != ranking.pick]
    if other:
        return f"Not settled: measured, it is {_list(other)}."
    risks = [
        f"{_named(answer, other)} ({_costs(answer.question, ranking.against[other])})" for other in ranking.unsettled
    ]
    return f"Not settled: {_list(risks)} may be as good or better; {_cure(answer.question)}."


def _named(answer: Answer, name: str) -> str:
    """A strategy with the words of its waiver, where it has one."""
    return f"{name} ({answer.waived[name]})" if name in answer.waived else name


def _cure(question: Question) -> str:
    return "more launches and cold starts would tell" if question.calls else "more launches would tell"


def _costs(question: Question, found: Comparison) -> str:
    what, how = ("needs", "much") if question.objective == "memory" else ("takes", "long")
    return f"{what} {cost_ratio(found.ratio, found.low, found.high)} as {how}"


def better(question: Question) -> str:
    """What a ratio above one means."""
    return "less memory than" if question.objective == "memory" else "as fast as"


def _inverse(found: Comparison) -> str:
    return cost_ratio(1 / found.ratio, 1 / found.high, 1 / found.low)


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def table(answer: Answer) -> pd.DataFrame:
    """The pick and the runners-up: what each costs, and over the pick. Rows: candidates."""
    ranking = answer.ranking
    rows = []
    for name, own in answer.standings.items():
        found = ranking.against.get(name) if ranking else None
        row: dict[str, Any] = {
            "strategy": _named(answer, name),
            "time of a call (µs)": f"{own.latency * 1e6:.4g}",
            "memory (KiB)": "–" if math.isnan(own.held) else f"{own.held / 1024:.6g}",
            "first call (s)": "–" if math.isnan(own.first) else f"{own.first:.2f}",
        }
        if answer.question.calls:
            row["in all (s)"] = f"{own.total:.4g}"
        row["cost over the pick's"] = "1" if found is None else cost_ratio(found.ratio, found.low, found.high)
        row["verdict"] = "the pick" if found is None else _verdict(found, name in answer.pareto)
        rows.append(row)
    return pd.DataFrame(rows)


def _verdict(found: Comparison, pareto: bool) -> str:
    word = {"slower": "dearer", "faster": "cheaper"}.get(found.verdict, found.verdict)
    return f"{word}; best in time or memory" if pareto and word == "dearer" else word


def rejected(answer: Answer) -> list[str]:
    """A line for each strategy that is not the pick, why: what it cannot do, or how much dearer it is."""
    lines = [f"{name}: {why}" for name, why in answer.rejected.items()]
    for name, found in (answer.ranking.against if answer.ranking else {}).items():
        if found.verdict == "slower":
            word = "too large" if answer.question.objective == "memory" else "too slow"
            lines.append(f"{_named(answer, name)}: {word}: {_costs(answer.question, found)} as the pick")
    return lines


def open_ones(answer: Answer) -> list[str]:
    """A line for each runner-up: what is a tie with the pick, or not settled against it."""
    against = answer.ranking.against if answer.ranking else {}
    return [
        f"{_named(answer, name)}: {'a tie' if found.verdict == 'tie' else found.verdict}:"
        f" {_costs(answer.question, found)}"
        for name, found in against.items()
        if found.verdict != "slower"
    ]


def more(answer: Answer) -> Iterator[str]:
    """Lines about time against memory, sizes, break-even, and what gives reason to doubt."""
    if len(answer.pareto) > 1:
        points = [
            f"{_named(answer, name)} ({in_time(answer.standings[name].latency)},"
            f" {in_bytes(answer.standings[name].held)})"
            for name in answer.pareto
        ]
        yield f"time against memory, none beaten in both: {', '.join(points)}"
    elif answer.pareto:
        yield f"time against memory: {_named(answer, answer.pareto[0])} is beaten by none in either"
    for change in answer.changes:
        at = "" if math.isnan(change.crossing) else f", at {crossing(change.lower, change.upper, change.crossing)}"
        doubt = "" if change.settled else " (one of the two is not settled)"
        ends = f"{change.lower} ({change.below}) and {change.upper} ({change.above})"
        yield f"the winner changes between {ends}{at}{doubt}"
    for earned in answer.break_even:
        asked = f"; asked about: {answer.question.steps:,}" if answer.question.steps else ""
        yield f"{earned.strategy} earns its first call against {earned.other} after {earned.calls:,.0f} calls{asked}"
    if not answer.place.measured:
        off = f", {answer.place.off:.2g} doublings off their line" if answer.place.off > 1e-6 else ""
        yield (
            f"{answer.question.dims} was not measured: between {answer.place.lower} and {answer.place.upper}{off}; "
            f"the nearest data are {answer.place.doublings:.2g} doublings away, at {answer.place.nearest}"
        )
    yield from answer.notes
    yield f"tie band ±{100 * answer.band:.1f} %; n = {answer.launches} launches; intervals hold for all pairs together"
    names = ", ".join(answer.summaries)
    yield f"order of simplicity, which decides between ties: {names}"


def crossing(lower: str, upper: str, share: float) -> str:
    """A size a share of the way between two, logarithmically: ``N≈300,D≈300``; their options as they are."""
    low, high = sizes_of(lower), sizes_of(upper)
    sizes = {name: low[name] ** (1 - share) * high[name] ** share for name in low}
    between = [f"{name}≈{float(f'{size:.2g}'):g}" for name, size in sizes.items()]
    return ",".join(filter(None, (*between, options_text(lower))))


def rest(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """What stands below the table: a title and its lines, where there are any."""
    said = (("runners-up", open_ones(answer)), ("rejected", rejected(answer)), ("notes", list(more(answer))))
    yield from ((title, lines) for title, lines in said if lines)


def as_json(answer: Answer) -> dict[str, Any]:
    """All of it for a program; what is not known is null."""
    found = {
        "pick": answer.ranking.pick if answer.ranking else None,
        "confidence": answer.ranking.confidence if answer.ranking else "none",
        "settled": answer.settled,
        "sentence": sentence(answer),
        "rejected_because": rejected(answer),
        **dataclasses.asdict(answer),
    }
    found["question"]["pass"] = found["question"].pop("passed")
    plain = _plain(found)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
