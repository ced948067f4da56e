"""A run that was measured: the frames that tables and plots are made from, figures, and which strategy to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import matplotlib as mpl
import pandas as pd

from harness.analyse import choose as choosing
from harness.analyse import contending
from harness.analyse import gate as found
from harness.analyse.findings import Findings, findings
from harness.notebook import shown
from harness.notebook.answers import Choice
from harness.notebook.gated import Gated
from harness.notebook.given import Names, names
from harness.publish.evidence import refuse_odd
from harness.records import store
from harness.report import everything, plots, tables
from harness.report.drawing import RC, Figure


@dataclass(frozen=True, eq=False, repr=False)
class Run(Gated):
    """A run, from its records: frames, figures, and which strategy to take.

    Attributes:
        folder: where the records are.
    """

    folder: Path

    @cached_property
    def _found(self) -> Findings:
        return findings(self.records)

    @property
    def _have(self) -> contending.Evidence:
        return self._found.have

    @cached_property
    def timing(self) -> pd.DataFrame:
        """One row a planned case, measured or not: latency in seconds, ratio with interval, verdict, status, reason."""
        return self._have.timing.drop(columns="order")

    @property
    def memory(self) -> pd.DataFrame:
        """One row a group × strategy, in bytes above parameters and inputs."""
        return self._have.memory

    @property
    def first_calls(self) -> pd.DataFrame:
        """One row a group × strategy: seconds of the first call, cold and cached."""
        return self._have.first

    @property
    def decision(self) -> pd.DataFrame:
        """One row a group × pass: the pick, its runner-up, how sure that is."""
        return self._found.winners

    @property
    def break_even(self) -> pd.DataFrame:
        """After how many calls a dearer first call is earned."""
        return self._found.break_evens

    @property
    def noise(self) -> pd.DataFrame:
        """One row a group × pass: the baseline against itself."""
        return self._found.noise

    @cached_property
    def failures(self) -> pd.DataFrame:
        """One row a wrong answer, with the command that asks for just that again."""
        return found.failures(self.records)

    def choose(
        self,
        layer: str,
        *,
        dims: str = "",
        dtype: str = "",
        device: str = "",
        threads: int = 0,
        pass_: str = "",
        objective: contending.Objective = "latency",
        steps: int = 0,
        max_memory: float | None = None,
        require: Names = (),
        allow_waived: bool = False,
    ) -> Choice:
        """Which strategy to take, as ``layerbench choose``; what is left out is the run's first.

        Args:
            steps: calls in the process's life, so that compile time counts.
            max_memory: bytes that the pass may hold above parameters and inputs.
            allow_waived: whether strategies may be picked that were timed by a waiver.

        Raises:
            QuestionError, UnknownRequirementError: the run holds nothing of the kind, or nothing was measured.
            OutsideError: the size is outside of what was measured.
        """
        if objective not in (known := get_args(contending.Objective)):
            raise choosing.QuestionError(f"unknown objective {objective!r}: choose from {', '.join(known)}")
        if not any(contest.seconds for contest in self._have.contests.values()):
            raise choosing.QuestionError(f"{self.folder} holds no timing: nothing was measured")
        question = contending.Question(
            layer, dims, dtype, device, threads, pass_, objective, steps, max_memory, names("require", require),
            allow_waived,
        )  # fmt: skip
        return Choice(choosing.choose(self._have, question))

    def plot(self, name: str = "speedup", *, layer: str = "") -> Figure:
        """A plot of the run as a matplotlib figure, which a notebook shows by itself.

        Args:
            name: ``speedup``, ``decision``, ``ratio``, ``latency``, ``memory``, ``memory-size``, ``break-even``,
                ``noise``, ``roofline`` or ``training``.
            layer: may be left out where the run has but one.

        Raises:
            QuestionError: there is no such plot, or nothing in the run to draw it from.
        """
        layers = list(dict.fromkeys([*self.gate["layer"], *self._have.timing["layer"]]))
        layer = layer or (layers[0] if len(layers) == 1 else "")
        if name not in plots.NAMES:
            raise choosing.QuestionError(f"unknown plot {name!r}: choose from {', '.join(plots.NAMES)}")
        if layer not in layers:
            raise choosing.QuestionError(f"this run has no layer {layer!r}: choose from {', '.join(layers)}")
        with mpl.rc_context(RC):
            wanted = (plot for plot in plots.plots_of(self._found) if plot.name == f"{name}-{layer}")
            figure = next((plot.draw() for plot in wanted), None)
            if figure is None:
                raise choosing.QuestionError(f"this run has nothing to draw {name} of {layer} from")
            figure.draw_without_rendering()  # ticks take their look when they are first drawn
        return figure

    def write(self) -> Path:
        """Write the page, tables and plots into the run's folder, as ``layerbench report``; returns the page's path.

        Raises:
            StoreError: the folder cannot be written.
            BundleError: the records hold names that cannot be names of files.
        """
        refuse_odd(self.records)
        try:
            everything.write_all(self.records, self.folder)
        except OSError as error:
            raise store.StoreError(f"cannot write to {self.folder}: {error.strerror}") from None
        return self.folder / "report.html"

    def _by_layer(self) -> Iterator[tuple[str, pd.DataFrame]]:
        for layer, rows in self._have.timing.groupby("layer", sort=False):
            yield str(layer), tables.main(rows)

    def __repr__(self) -> str:
        parts = [f"{n}\n{t.to_markdown(index=False, disable_numparse=True)}" for n, t in self._by_layer()]
        return "\n\n".join([*parts, f"records: {self.folder}", *self.records.warnings])

    def _repr_html_(self) -> str:
        parts = [shown.heading(name) + shown.table(frame) for name, frame in self._by_layer()]
        return "".join(parts) + shown.lines([f"records: {self.folder}", *self.records.warnings])
