"""One page for a run, ``report.html``: the decision first, then all that it rests on.

It needs no network and no other file: style, script and figures are in it. Whatever comes from records is escaped.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.analyse import frames
from harness.analyse import gate as gates
from harness.analyse.choose import Answer, QuestionError, choose
from harness.analyse.contending import Evidence, Question
from harness.analyse.findings import Findings
from harness.analyse.winners import NO_TIME, NOT_PLANNED, use_when
from harness.records.modes import LOOPED, STEPS, pass_words
from harness.records.store import Run
from harness.report import answer as words
from harness.report import decision_tables, meter, tables, waived
from harness.report.drawing import machine

FILE = "report.html"
FILTERS = ("layer", "device", "dtype", "pass")
MARKS = {"faster": "▲", "slower": "▼", "tie": "=", "inconclusive": "?", "clear": "✓", "not settled": "?"}


@dataclass(frozen=True)
class Figure:
    """A figure of the page: the name of its files, its layer, what it shows, its width in inches and SVG element."""

    name: str
    layer: str
    caption: str
    width: float
    svg: str


@dataclass(frozen=True)
class Row:
    """A row of a table; ``filters`` are the values that the page's filter looks at."""

    cells: Sequence[str]
    filters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the page; ``name`` is that of its ``files`` in ``tables/``, where it has any."""

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    files: bool = True


@dataclass(frozen=True)
class Advice:
    """What the page says first about a layer."""

    layer: str
    title: str
    formula: str
    rule: str
    answers: Sequence[tuple[str, Answer]]


def write(found: Findings, figures: Sequence[Figure], folder: Path) -> Path:
    """Write the page into a run's folder; returns its path."""
    path = folder / FILE
    path.write_text(render(found, figures), encoding="utf-8")
    return path


def templates() -> jinja2.Environment:
    """The templates of pages; what they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render(found: Findings, figures: Sequence[Figure]) -> str:
    """The page as HTML."""
    have, run, picks = found.have, found.run, found.winners
    shown = {table.name: table for table in _tables(found)}
    layers = list(dict.fromkeys(have.timing["layer"]))
    context = {
        "machine": machine(run),
        "header": run.of("run")[0],
        "facts": list(facts(found)),
        "advice": [_advice(have, layer, picks[picks["layer"] == layer]) for layer in layers],
        "figures": figures,
        "tables": shown,
        "layers": layers,
        "filters": {name: _values(have, name) for name in FILTERS},
        "warnings": list(warnings(found)),
        "legend": tables.LEGEND,
        "notes": tables.notes(found.matrix),
        "failures": tables.wrong(gates.failures(run, run.of("run")[0].get("sources", [])[1:])),
        "reproduce": list(_reproduce(run)),
        "sentence": words.sentence,
        "rejected": words.rejected,
        "more": words.more,
        "marks": MARKS,
        "svg": Markup,
    }
    return templates().get_template("report.html.jinja").render(context) + "\n"


def _advice(have: Evidence, layer: str, picks: pd.DataFrame) -> Advice:
    facts: dict[str, Any] = next((r for r in have.run.of("layer") if r["layer"] == layer), {})
    passes = have.run.of("run")[0]["passes"]
    answers = []
    for passed in dict.fromkeys(p for p in ("forward_backward", *STEPS, *LOOPED, *passes[-1:]) if p in passes):
        if set(picks.loc[picks["pass"] == passed, "reason"]) <= {NO_TIME, NOT_PLANNED}:
            continue  # that nothing was measured is no answer
        try:
            answers.append((pass_words(passed), choose(have, Question(layer, passed=passed))))
        except QuestionError:
            continue
    return Advice(layer, facts.get("title", ""), facts.get("formula", ""), use_when(picks), answers)


def facts(found: Findings) -> Iterator[tuple[str, str, str]]:
    """What stands in the head: a word, its value, and ``good``, ``bad`` or nothing."""
    have = found.have
    header = have.run.of("run")[0]
    environment = have.run.of("environment")[0] if have.run.of("environment") else {}
    yield "started", header.get("started", "unknown").replace("T", " ").replace("Z", " UTC"), ""
    yield "profile", str(header["wanted"].get("profile", "unknown")), ""
    commit = str(environment.get("commit") or "unknown")[:10]
    dirty = environment.get("dirty")
    yield "commit", commit + (" with changes" if dirty else ""), "bad" if dirty else ""
    passed = int((have.gate["result"] == "ok").sum())
    yield "gate", f"{passed} of {len(have.gate)} strategies passed", "good" if passed == len(have.gate) else "bad"
    caught = Counter(found.controls["result"])
    if caught:
        text = f"{caught['caught']} planted faults caught, {caught['missed']} missed"
        yield "controls", text, "bad" if caught["missed"] else "good"
    bands = have.timing["margin"].dropna()
    if len(bands):
        yield "noise", f"tie bands ±{100 * bands.min():.1f} to ±{100 * bands.max():.1f} %", ""
    ok = have.timing[have.timing["status"] == "ok"]
    yield "measured", f"{len(ok)} of {len(have.timing)} cases", "" if len(ok) else "bad"
    flagged = int((ok["flags"] != "").sum())
    yield "flagged", f"{flagged} of {len(ok)} cases", ""


def warnings(found: Findings) -> Iterator[str]:
    """A line for everything that gives reason to doubt the run, and for what was not measured."""
    have = found.have
    yield from have.run.warnings
    ok = have.timing[have.timing["status"] == "ok"]
    if ok.empty:
        yield "Nothing was measured: there are no times, and no recommendation."
    environment = have.run.of("environment")[0] if have.run.of("environment") else {}
    if environment.get("dirty"):
        yield "The sources had changes that are not in the commit."
    for proof in have.run.of("proof"):
        if proof["result"] == "failed":
            yield f"The meter failed a proof here: {proof['proof']}, {proof['what']} {proof['figure']:.3g}."
    for layer in dict.fromkeys(have.gate["layer"]):
        if words := waived.sentence(have.run, layer):
            yield f"{layer}: {words}; their rows have no verdict, and no pick is made of them."
    if found.matrix.empty:
        yield "These records hold no composability checks: choose cannot answer what a strategy can be combined with."
    few = ok[ok["ratio_low"].isna() & (ok["verdict"] != "baseline")]
    if len(few):
        yield f"{len(few)} cases have too few launches for an interval."
    counts = Counter(flag for flags in ok["flags"] for flag in str(flags).split())
    for flag, count in sorted(counts.items()):
        yield f"{flag.replace('_', ' ')}: {count} of {len(ok)} cases ({FLAGS.get(flag, 'see the notes')})"
    for (status, reason), same in have.timing[have.timing["status"] != "ok"].groupby(["status", "reason"], sort=False):
        where = ", ".join(dict.fromkeys(f"{r.layer}/{r.strategy}" for r in frames.rows_of(same)))
        yield f"{str(status).replace('_', ' ')}: {len(same)} cases of {where}: {reason}"


FLAGS = {
    "no_steady_state": "the warm-up did not settle in most launches",
    "noisy": "more than a quarter of the samples was preempted or lost the processor",
    "page_faults": "the numbers of page faults differ between samples",
    "uneven": "the mean of the calls is more than 1.1 times their interquartile mean: some take far longer",
    "pressure": "in more than a quarter of the rounds other work waited for the processors",
    "dispatch_bound": "launching takes longer than the device's own work",
    "derived": "a backward as the difference of two passes",
    "bits_differ_between_launches": "outputs or gradients were not the same bits in all launches",
}


def _tables(found: Findings) -> Iterator[Table]:
    have, picks = found.have, decision_tables.answered_first(found.winners)
    yield table("decision", "What to use, by case", decision_tables.decision(picks), picks)
    for layer, rows in have.timing.groupby("layer", sort=False):
        yield table(f"timing-{layer}", f"All measured cases of {layer}", tables.main(rows), rows)
    for name, caption, shown in (
        ("gate", "The gate", tables.gate(have.gate)),
        ("matrix", "What a strategy can be combined with", tables.matrix(found.matrix)),
        ("correctness", "Error against the float64 oracle", tables.correctness(found.correctness)),
        ("determinism", "How far outputs and gradients repeat", tables.determinism(found.determinism)),
        ("controls", "Planted faults, which the gate must catch", found.controls),
        ("training", "Training on the layer's data", tables.training(found.training)),
        ("memory", "Memory above parameters and inputs", tables.memory(have.memory)),
        ("first_call", "The first forward and backward", tables.first_call(have.first)),
        ("break_even", "When a dearer first call is earned", decision_tables.break_even(found.break_evens)),
        ("noise", "The baseline against itself", decision_tables.noise(found.noise)),
        ("roofs", "Share of the nearer roof", meter.roofs(found.roofs)),
        ("regimes", "The three regimes of the GPU", meter.regimes(found.regimes)),
        ("meter", "What the meter proved of itself in this run", meter.proofs(found.proofs)),
        ("spending", "Where the time of the run went", meter.spending(found.spending)),
        ("environment", "The machine and the software", tables.environment(found.run)),
    ):
        if not shown.empty:
            yield table(name, caption, waived.marked(found.run, shown))


def table(
    name: str, caption: str, shown: pd.DataFrame, keys: pd.DataFrame | None = None, filters: Sequence[str] = FILTERS,
    files: bool = True,
) -> Table:  # fmt: skip
    """A frame of texts as a table of a page.

    Args:
        keys: rows in the same order, with the columns that the page filters by.
        files: whether it is also in ``tables/``.
    """
    cells = [[str(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    wanted: list[dict[str, str]] = [{} for _ in cells]
    if keys is not None:
        wanted = [{k: str(row[k]) for k in filters} for row in keys.to_dict("records")]
    rows = [Row(*both) for both in zip(cells, wanted, strict=True)]
    return Table(name, caption, [str(column) for column in shown.columns], rows, files)


def _values(have: Evidence, name: str) -> list[str]:
    return [str(value) for value in dict.fromkeys(have.timing[name])]


def _reproduce(run: Run) -> Iterator[tuple[str, str]]:
    """What to do, and the command that does it."""
    header = run.of("run")[0]
    environment = run.of("environment")[0] if run.of("environment") else {}
    wanted = header["wanted"]
    if environment.get("commit"):
        yield "the sources that were measured", f"git checkout {environment['commit']}"
    command = ["layerbench", "bench", "--profile", str(wanted.get("profile", "default"))]
    for option, values in (
        ("--layer", wanted.get("layers", ())),
        ("--strategy", wanted.get("strategies", ())),
        ("--device", wanted.get("devices", ())),
        ("--dtype", wanted.get("dtypes", ())),
        ("--threads", wanted.get("threads", ())),
        ("--waive", wanted.get("waive", ())),
        ("--from", header.get("sources", [])[1:]),
    ):
        command += [word for value in values for word in (option, str(value))]
    for option in ("baseline", "launches", "seed"):
        if wanted.get(option):
            command += [f"--{option}", str(wanted[option])]
    yield "measure again", shlex.join(command)
    yield "make this page, its tables and plots again, from the records", "layerbench report RUN"
    yield "ask for a choice of your own", f"layerbench choose RUN --layer {(wanted.get('layers') or ['LAYER'])[0]}"
