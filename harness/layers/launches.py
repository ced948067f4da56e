"""Launch configurations of a Triton kernel: a table beside the strategy, read where the kernel is launched.

A table is ``launches/<kernel>.csv`` in a layer's folder. A row says for which devices (``target``), dtypes and sizes
(``up_to``; what a size counts is the strategy's business) it is meant, what the configuration is, and in ``evidence``
the record that speaks for it, or ``not yet measured``. The first row that fits is taken; the last one fits everything:
the safe default. Lines that begin with ``#`` are for people. Nothing is tuned at run time; see ``layerbench tune``.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANY = "any"
UNMEASURED = "not yet measured"
INTERPRETER = "interpreter"
"""The target of kernels that run in Triton's interpreter."""
KEYS = ("target", "dtype", "up_to")
EVIDENCE = "evidence"


class LaunchTableError(ValueError):
    """A table that cannot be read; one line with its file and the fix."""


@dataclass(frozen=True)
class Row:
    """A line of a table; ``up_to`` is None where it is for all sizes, ``dtypes`` empty where for all dtypes."""

    target: str
    dtypes: tuple[str, ...]
    up_to: int | None
    config: Mapping[str, int]
    evidence: str = UNMEASURED

    def fits(self, target: str, dtype: str, size: int) -> bool:
        """Whether it is for such a launch."""
        mine = self.target in (ANY, target) and (not self.dtypes or dtype in self.dtypes)
        return mine and (self.up_to is None or size <= self.up_to)

    @property
    def cells(self) -> list[str]:
        """As it stands in the file."""
        values = map(str, self.config.values())
        return [self.target, " ".join(self.dtypes) or ANY, str(self.up_to or ANY), *values, self.evidence]


class Launches:
    """The table of one kernel.

    Attributes:
        taken: how often a configuration that was forced has been asked for: never, where the kernel is not launched.
    """

    def __init__(self, path: Path, rows: Sequence[Row]) -> None:
        self.path, self.rows = path, tuple(rows)
        self.taken = 0
        self._forced: Mapping[str, int] | None = None
        self._found: dict[tuple[str, Any, int], Mapping[str, int]] = {}

    def row(self, target: str, dtype: Any, size: int) -> Row:
        """The first row that fits.

        Args:
            dtype: its name, or a ``torch.dtype``.
        """
        name = str(dtype).rpartition(".")[2]
        return next(row for row in self.rows if row.fits(target, name, size))

    def find(self, target: str, dtype: Any, size: int) -> Mapping[str, int]:
        """The configuration to launch with."""
        if self._forced is not None:
            self.taken += 1
            return self._forced
        key = (target, dtype, size)
        if key not in self._found:
            self._found[key] = self.row(target, dtype, size).config
        return self._found[key]

    @contextmanager
    def forced(self, config: Mapping[str, int]) -> Iterator[None]:
        """One configuration for whatever is launched, in all threads: backwards run in threads of their own."""
        before, self._forced = self._forced, config
        try:
            yield
        finally:
            self._forced = before


def launch_table(file: str, kernel: str) -> Launches:
    """The table of a kernel.

    Args:
        file: the strategy's own ``__file__``.

    Raises:
        LaunchTableError: there is none, or it is not as described above.
    """
    return read_table(Path(file).parent / "launches" / f"{kernel}.csv")


def read_table(path: Path) -> Launches:
    """A table from its file.

    Raises:
        LaunchTableError: see ``launch_table``.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    except OSError as error:
        raise LaunchTableError(f"{path.name}: {error.strerror}: a kernel needs a table of launches") from None
    head, *body = ([cell.strip() for cell in cells] for cells in csv.reader(lines)) if lines else [[]]
    if tuple(head[:3]) != KEYS or head[-1] != EVIDENCE or len(head) < 5:
        raise LaunchTableError(f"{path.name}: its head must be {', '.join(KEYS)}, the configuration, {EVIDENCE}")
    rows = [_row(path, head, cells) for cells in body]
    if not rows or (rows[-1].target, rows[-1].dtypes, rows[-1].up_to) != (ANY, (), None):
        raise LaunchTableError(f"{path.name}: its last row must be for any, any, any: the safe default")
    return Launches(path, rows)


def _row(path: Path, head: Sequence[str], cells: Sequence[str]) -> Row:
    try:
        target, dtypes, up_to, *values, evidence = cells
        config = dict(zip(head[3:-1], map(int, values), strict=True))
        size = None if up_to == ANY else int(up_to)
    except ValueError:
        raise LaunchTableError(
            f"{path.name}: {', '.join(cells)}: not {len(head)} cells, or not whole numbers"
        ) from None
    return Row(target, () if dtypes == ANY else tuple(dtypes.split()), size, config, evidence)


def with_row(table: Launches, old: Row, new: Row) -> Launches:
    """A table in which a new row stands before the one taken so far, or in its place where both are for the same."""
    rows = list(table.rows)
    at = rows.index(old)
    same = (old.target, old.dtypes, old.up_to) == (new.target, new.dtypes, new.up_to)
    rows[at : at + same] = [new]
    return Launches(table.path, rows)


def write_table(table: Launches) -> None:
    """Write a table to its file, in columns; lines for people stay."""
    words = [line for line in table.path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    lines = [[*KEYS, *table.rows[-1].config, EVIDENCE], *(row.cells for row in table.rows)]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [", ".join(cell.ljust(n) for cell, n in zip(line, wide, strict=True)).rstrip() for line in lines]
    table.path.write_text("\n".join([*words, *text]) + "\n", encoding="utf-8")


@functools.cache
def target_of(device: Any) -> str:
    """The family of a ``torch.device`` as tables name it: the interpreter for a CPU, else what is compiled for."""
    if device.type == "cpu":
        return INTERPRETER
    import torch

    if torch.version.hip:
        return "gfx942"
    major, _ = torch.cuda.get_device_capability(device)
    return "sm_80" if major < 9 else "sm_90" if major == 9 else "sm_100"
