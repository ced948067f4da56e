"""All frames that a report shows of a run, each computed once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.analyse import contending, costs, device, frames, gate, noise, spending, winners
from harness.analyse.contending import Evidence
from harness.records.store import Run


@dataclass(frozen=True)
class Findings:
    """What a report is made of; every frame is described where it is computed."""

    have: Evidence

    @property
    def run(self) -> Run:
        """The records."""
        return self.have.run

    @cached_property
    def winners(self) -> pd.DataFrame:
        """See winners.py."""
        return winners.winners(self.have)

    @cached_property
    def break_evens(self) -> pd.DataFrame:
        """See costs.py."""
        return costs.break_evens(self.have.timing, self.have.first, self.have.baselines)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """See noise.py."""
        return noise.noise(self.run, self.have.measured)

    @cached_property
    def in_order(self) -> pd.DataFrame:
        """See noise.py."""
        return noise.in_order(self.run, self.have.measured)

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """See gate.py."""
        return gate.matrix(self.run)

    @cached_property
    def determinism(self) -> pd.DataFrame:
        """See gate.py."""
        return gate.determinism(self.run)

    @cached_property
    def controls(self) -> pd.DataFrame:
        """See gate.py."""
        return gate.controls(self.run)

    @cached_property
    def correctness(self) -> pd.DataFrame:
        """See frames.py."""
        return frames.correctness(self.run)

    @cached_property
    def training(self) -> pd.DataFrame:
        """See frames.py."""
        return frames.training(self.run)

    @cached_property
    def proofs(self) -> pd.DataFrame:
        """See frames.py."""
        return frames.proofs(self.run)

    @cached_property
    def roofs(self) -> pd.DataFrame:
        """See device.py."""
        return device.roofs(self.run, self.have.timing)

    @cached_property
    def regimes(self) -> pd.DataFrame:
        """See device.py."""
        return device.regimes(self.run, self.have.timing)

    @cached_property
    def spending(self) -> pd.DataFrame:
        """See spending.py."""
        return spending.spending(self.run)


def findings(run: Run) -> Findings:
    """Those of a run."""
    return Findings(contending.evidence(run))
