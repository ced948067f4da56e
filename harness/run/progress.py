"""What a person sees while it runs: a live line on a terminal, plain lines otherwise; always on standard error."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

STEP_SECONDS = 10.0


class Reporter:
    """Progress in cells, with the time that is left by the plan's estimate, corrected by what was seen."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._estimate = 0.0
        self._started = time.monotonic()
        self._last = 0.0
        self._done = self._total = 0
        self._bar = Progress(
            TextColumn("{task.fields[left]:>11}"), BarColumn(bar_width=20), MofNCompleteColumn(),
            TextColumn("{task.description}"), console=self.console, transient=True, refresh_per_second=2,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None, left="")

    def __enter__(self) -> Reporter:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def estimate(self, seconds: float, total: int) -> None:
        """What the plan expects: seconds and cells in all."""
        self._estimate, self._total, self._done = seconds, total, 0
        self._started = time.monotonic()
        self._bar.update(self._task, total=total, completed=0)

    def adjust(self, cells: int) -> None:
        """So many cells more than were planned; fewer if negative."""
        self._total += cells
        self._bar.update(self._task, total=self._total)

    def done(self, cells: int = 1) -> None:
        """A cell has ended."""
        self._done += cells
        self._bar.update(self._task, completed=self._done)

    def now(self, what: str) -> None:
        """The current cell."""
        if self.console.is_terminal:
            self._bar.update(self._task, description=what, left=self._left())
        elif time.monotonic() - self._last >= STEP_SECONDS:
            self._last = time.monotonic()
            self.console.print(f"[{self._done}/{self._total}, {self._left()}] {what}", markup=False)

    def say(self, text: str, style: str | None = None) -> None:
        """A line that stays."""
        self.console.print(text, style=style, markup=False)

    def _left(self) -> str:
        spent = time.monotonic() - self._started
        share = min(1.0, self._done / self._total) if self._total else 0.0
        left = max(0.0, self._estimate - spent)
        if share > 0.05:
            left = (1 - share) * left + share * spent * (1 - share) / share
        return f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left"
