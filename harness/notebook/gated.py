"""What the gate found, as frames; and what ``verify`` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.analyse import frames
from harness.analyse import gate as found
from harness.notebook import shown
from harness.records import store
from harness.report import tables


@dataclass(frozen=True, eq=False)
class Gated:
    """What the gate found; columns are described in ``harness.analyse.frames`` and ``harness.analyse.gate``."""

    records: store.Run

    @cached_property
    def gate(self) -> pd.DataFrame:
        """One row a strategy × device: checks, worst error ÷ bound, loss after training, result, reason."""
        return found.judged(self.records).reset_index(drop=True)

    @cached_property
    def checks(self) -> pd.DataFrame:
        """One row a check."""
        return frames.checks(self.records)

    @cached_property
    def correctness(self) -> pd.DataFrame:
        """The worst error ÷ bound of each strategy × dtype × tensor, beside the reference's own."""
        return frames.correctness(self.records)

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """One row a strategy × check of what it can be combined with."""
        return found.matrix(self.records)

    @cached_property
    def determinism(self) -> pd.DataFrame:
        """How far each output and gradient repeats."""
        return found.determinism(self.records)

    @cached_property
    def training(self) -> pd.DataFrame:
        """One row a training: losses, target and naive loss, error, bound, result."""
        return frames.training(self.records)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """One row a planted fault, and whether the gate caught it."""
        return found.controls(self.records)

    @cached_property
    def environment(self) -> pd.DataFrame:
        """Facts about machine and software."""
        return tables.environment(self.records)


@dataclass(frozen=True, eq=False)
class Verified(Gated):
    """What ``verify`` found.

    Attributes:
        sources: as given to ``from_``.
    """

    sources: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a check."""
        return self.checks

    @property
    def failures(self) -> pd.DataFrame:
        """One row a wrong answer, with the command that asks for just that again."""
        return found.failures(self.records, self.sources)

    @property
    def missed(self) -> list[str]:
        """Planted faults that went through: then the gate is blind, and its word counts for nothing."""
        return list(self.controls.loc[self.controls["result"] == "missed", "control"])

    @property
    def ok(self) -> bool:
        """Whether something was checked, nothing of it was wrong, and the gate is not blind."""
        return found.outcome(self.gate) == "passed" and not self.missed

    @property
    def problems(self) -> list[str]:
        """A line for each wrong answer with its command, for what was not checked and why, and for a blind gate."""
        lines = tables.wrong(self.failures)
        told = {(row.layer, row.strategy, row.device) for row in frames.rows_of(self.failures)}
        for row in frames.rows_of(self.gate):
            if row.result != "ok" and (row.layer, row.strategy, row.device) not in told:
                lines.append(f"{row.layer}/{row.strategy}: {row.result.replace('_', ' ')}: {row.reason}")
        if self.missed:
            lines.append(f"the gate is blind: {', '.join(self.missed)} went through, so its word counts for nothing")
        return lines

    def __repr__(self) -> str:
        table = tables.gate(self.gate).to_markdown(index=False, disable_numparse=True)
        return "\n".join([table, *self.problems])

    def _repr_html_(self) -> str:
        head = shown.heading("the gate: ok" if self.ok else "the gate: not ok")
        return head + shown.table(tables.gate(self.gate)) + shown.lines(self.problems)
