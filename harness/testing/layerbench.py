"""What a test says of strategies: that they agree with their layer's reference, that one is not slower than another."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from harness.analyse.gate import NOT_HERE, PASSED
from harness.analyse.limit import Limited, limited
from harness.analyse.statistics import FEWEST_LAUNCHES
from harness.notebook import Verified, verify
from harness.notebook.given import Names, Sources, folders, names
from harness.report.numbers import cost_ratio
from harness.run import pair
from harness.run.places import sources
from harness.run.wanted import UsageError, Wanted


@dataclass(frozen=True)
class Layerbench:
    """The fixture.

    Attributes:
        root: where folders and files given to ``from_`` are looked for first: the test suite's root.
        folders: where records of what is timed are kept for a while.
    """

    root: Path
    folders: pytest.TempPathFactory

    def agrees(
        self,
        layer: str,
        strategy: Names,
        *,
        from_: Sources = (),
        quick: bool = True,
        device: Names = (),
        check: Names = (),
        dtype: Names = (),
        dims: str = "",
        waive: Names = (),
        seed: int = 0,
        timeout: float = 180.0,
    ) -> Verified:
        """Fail unless the gate finds that strategies compute what the layer's reference computes, and train like it.

        A test in which nothing is wrong is skipped where one of its strategies cannot run on this machine. Several
        strategies in one call are cheaper than as many calls: the gate's own planted faults are run once a call.

        Args:
            strategy: one or several.
            from_: folders or files, from the test suite's root on, or packages.
            quick: only what finds wrong numbers; False for all checks.
            device, check, dtype, dims, waive, seed, timeout: as in ``harness.notebook.verify``.

        Raises:
            AssertionError: with a line for each wrong answer, and the command that asks for just that again.
            UsageError, SourceError, WorkerError: as ``harness.notebook.verify``.
        """
        __tracebackhide__ = True
        found = verify(
            layer=layer, strategy=strategy, device=device, quick=quick, check=check, dtype=dtype, dims=dims,
            waive=waive, from_=self._found(from_), seed=seed, timeout=timeout,
        )  # fmt: skip
        cannot = found.gate["result"].isin(NOT_HERE)
        if found.missed or cannot.empty or not (cannot | found.gate["result"].isin(PASSED)).all():
            raise AssertionError("\n".join(found.problems) or "nothing was checked")
        if cannot.any():
            pytest.skip("; ".join(found.problems))
        return found

    def not_slower(
        self,
        layer: str,
        strategy: str,
        *,
        than: str,
        by: float = 1.05,
        dims: Names = (),
        dtype: str = "float32",
        device: Names = (),
        pass_: Names = "forward_backward",
        threads: int = 1,
        launches: int = 8,
        inconclusive: Literal["skip", "fail"] = "skip",
        from_: Sources = (),
        seed: int = 0,
        timeout: float = 180.0,
    ) -> list[Limited]:
        """Fail if a strategy is shown to take more than ``by`` times as long as another.

        Both are timed in turns in fresh processes, by the meter of ``layerbench bench``. The test passes where the
        whole 95 % interval of the ratio is at most ``by``, and fails where all of it is above, and above what identical
        code differs by on this machine. Anything else shows neither.

        Args:
            than: another strategy of the layer.
            by: at least 1. A failure must be outside of the tie band too, 2 % on a quiet CPU.
            dims: one size or several, such as ``N=512,D=512``; the quick profile's if empty.
            launches: fresh processes, at least 5; more of them tell smaller differences apart.
            inconclusive: what happens where neither is shown. ``skip``, for noise is not a defect of the code under
                test and a test that fails at random is soon ignored; the reason is in pytest's summary (``-rs``).
                ``fail`` on a machine that is known to be quiet.
            from_: folders or files, from the test suite's root on, or packages.

        Returns:
            What was found of each size and pass.

        Raises:
            AssertionError: with the ratio and its interval, or what went wrong with one of the two.
            UsageError, SourceError, WorkerError: as ``harness.notebook.bench``.
        """
        __tracebackhide__ = True
        names("strategy", strategy, layer)  # a function is refused with advice
        for problem in _problems(strategy, than, by, launches, inconclusive):
            raise UsageError(problem)
        wanted = Wanted(
            "quick", (layer,), (strategy,), names("device", device), (dtype,), (threads,), than, launches, seed,
            dims=names("dims", dims), passes=names("pass_", pass_),
        )  # fmt: skip
        folder = self.folders.mktemp("layerbench")
        with self._alone():
            run = pair.launch(wanted, sources(self._found(from_)), folder, timeout)
        found = limited(run, strategy, by)
        conclude(found, strategy, than, by, inconclusive, f"records: {folder}")
        return found

    def _found(self, given: Sources) -> tuple[str, ...]:
        """Folders and files from the root on, as they are found from here; the rest as it is."""
        there = ((source, self.root / source) for source in folders(given))
        return tuple(os.path.relpath(path) + "/" * path.is_dir() if path.exists() else source for source, path in there)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One timing at a time though pytest-xdist runs several tests; its workers share the folder above theirs."""
        own = self.folders.getbasetemp()
        shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
        with (shared / "layerbench.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _problems(strategy: str, than: str, by: float, launches: int, inconclusive: str) -> Iterator[str]:
    if strategy == than:
        yield f"than={than!r}: give another strategy than the one that is timed"
    if not by >= 1:
        yield f"by={by!r}: give how many times as long it may take, at least 1"
    if launches < FEWEST_LAUNCHES:
        yield f"launches={launches}: an interval needs {FEWEST_LAUNCHES}"
    if inconclusive not in ("skip", "fail"):
        yield f"inconclusive={inconclusive!r}: choose skip or fail"


def conclude(
    found: list[Limited], strategy: str, than: str, by: float, inconclusive: Literal["skip", "fail"], where: str
) -> None:
    """Pass, skip or fail by what was found of all sizes and passes; the worst of them counts.

    Raises:
        AssertionError: one of them is too slow, or something went wrong.
        Skipped: none is shown to be too slow, and not all are shown not to be.
    """
    __tracebackhide__ = True
    bad = [one for one in found if one.verdict in ("failed", "error")]
    unsure = [one for one in found if one.verdict == "inconclusive"]
    if bad or (unsure and inconclusive == "fail"):
        raise AssertionError("\n".join([*(line(one, strategy, than, by) for one in bad + unsure), where]))
    if unsure:
        pytest.skip("; ".join(f"inconclusive: {line(one, strategy, than, by)}" for one in unsure))
    if all(one.verdict == "not_testable" for one in found):
        pytest.skip("; ".join(dict.fromkeys(one.why for one in found)) or "nothing was timed")


def line(one: Limited, strategy: str, than: str, by: float) -> str:
    """What was found, in words."""
    case = f"{one.group.layer}/{strategy} at {one.group.dims}, {one.group.dtype}, {one.group.device}, {one.passed}"
    if one.verdict in ("error", "not_testable") or not one.launches:
        return f"{case}: {one.why}"
    why = f": {one.why}" if one.why else ""
    return (
        f"{case}: takes {cost_ratio(one.ratio, one.low, one.high)} as long as {than}; {by:g}× is allowed{why} "
        f"({one.launches} launches, tie band ±{100 * one.band:.1f} %)"
    )
