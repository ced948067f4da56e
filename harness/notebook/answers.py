"""Answers that are computed from runs: which strategy to take, and what has changed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analyse import choose as choosing
from harness.analyse import compare as comparing
from harness.notebook import shown
from harness.report import answer as words
from harness.report import meter


@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """The answer to ``Run.choose``.

    Attributes:
        answer: all of it.
    """

    answer: choosing.Answer

    @property
    def pick(self) -> str | None:
        """The strategy to take; None where none does what is required."""
        return self.answer.ranking.pick if self.answer.ranking else None

    @property
    def settled(self) -> bool:
        """Whether there is a pick, and nothing that may yet beat it."""
        return self.answer.settled

    @property
    def frame(self) -> pd.DataFrame:
        """The pick and the runners-up: what each costs, and over the pick."""
        return words.table(self.answer)

    def __repr__(self) -> str:
        sections = [
            f"{title}:\n" + "\n".join(f"  {line}" for line in lines) for title, lines in words.rest(self.answer)
        ]
        table = [self.frame.to_markdown(index=False, disable_numparse=True)] if self.answer.standings else []
        return "\n\n".join([words.sentence(self.answer), *table, *sections])

    def _repr_html_(self) -> str:
        more = [*words.open_ones(self.answer), *words.rejected(self.answer), *words.more(self.answer)]
        return shown.heading(words.sentence(self.answer)) + shown.table(self.frame) + shown.lines(more)


@dataclass(frozen=True, eq=False, repr=False)
class Changes:
    """What ``compare`` found."""

    comparison: comparing.Comparison

    @property
    def frame(self) -> pd.DataFrame:
        """One row a case: ``verdict``, ``change`` (after ÷ before, with interval), both latencies."""
        return self.comparison.rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What else differs between the runs."""
        return self.comparison.notes

    @property
    def slower(self) -> pd.DataFrame:
        """The rows that have become slower."""
        return self.frame[self.frame["verdict"] == "slower"]

    def __repr__(self) -> str:
        table = meter.comparison(self.frame).to_markdown(index=False, disable_numparse=True)
        return "\n".join([table, *self.notes])

    def _repr_html_(self) -> str:
        return shown.table(meter.comparison(self.frame)) + shown.lines(self.notes)
