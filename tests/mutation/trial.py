"""The gate on mutants of one file, in a process of their own; each mutant in a fork of it, which may die.

Before the first fork the original passes the whole gate, so the reference's answers are there for every mutant, and
the slow stages are known: they come last. Arguments: layer, strategy, folder of mutants, seed, workers, and whether to
rehearse so. Each mutant's fate goes to standard output as a line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from harness.layers.discover import Entry, load, scan
from harness.records.schema import Check, Training
from harness.run.gate import describe_failure, failed
from harness.run.worker import live_and_die_with_the_parent
from harness.verify.asking import Local, StrategyError, claims_of
from harness.verify.interpreting import quicken
from harness.verify.judging import Subject
from harness.verify.narrow_floats import widen
from harness.verify.reference import Yardstick
from harness.verify.state import remember_state
from harness.verify.suite import stages

SLOW_SECONDS = 0.5
SECONDS = 240  # for one mutant; the whole gate takes a tenth of it


@dataclass(frozen=True)
class Fate:
    """What became of a mutant.

    Attributes:
        number: of the mutant.
        outcome: ``wrong``: a check says so; ``raised``: it did not run; ``died``; ``timeout``; ``unsupported``: nothing
            is wrong, but something that the original can be combined with is refused; ``survived``.
        check: what noticed, and ``detail`` what it said.
    """

    number: int
    outcome: str
    check: str = ""
    detail: str = ""
    seconds: float = 0.0


class Court:
    """A layer with its yardstick, warm for many strategies."""

    def __init__(self, layer: str, strategy: str, seed: int) -> None:
        self.layer_name, self.seed = layer, seed
        entries = {(e.layer, e.strategy): e for e in scan(["implementations"])}
        self.original = entries[layer, strategy]
        self.layer = _loaded(entries[layer, None])
        self.yardstick = Yardstick(_loaded(entries[layer, self.layer.reference]))
        self.slow: set[str] = set()
        self.unsupported: Counter[str] = Counter()

    def rehearse(self) -> None:
        """The original through the whole gate: it must pass, and says what is slow and what it does not support."""
        self.subject(self.original)  # the import is no stage
        for warm in (False, True):
            for stage in stages(self.subject(self.original), self.seed):
                began = time.perf_counter()
                results = stage.run()
                wrong = [describe_failure(r) for r in results if _caught(r)]
                if wrong:
                    raise SystemExit(f"the original does not pass: {wrong[0]}")
                if warm and time.perf_counter() - began > SLOW_SECONDS:
                    self.slow.add(stage.text)
                if warm and any(r.result == "limited" for r in results):
                    self.unsupported[stage.text] += 1

    def subject(self, entry: Entry) -> Subject:
        """A strategy of this layer under test, in this very process."""
        strategy = _loaded(entry)
        asked = Local(self.layer, strategy)
        return Subject(
            self.layer_name, self.layer, entry.strategy or "", claims_of(strategy), asked, self.yardstick, "cpu",
            bool(strategy.kernels),
        )  # fmt: skip

    def try_(self, entry: Entry, number: int) -> Fate:
        """A mutant through the gate, to the first check that fails."""
        try:
            subject = self.subject(entry)
        except ImportError as error:
            return Fate(number, "raised", "import", str(error))
        refused = None
        for stage in sorted(stages(subject, self.seed), key=lambda s: s.text in self.slow):
            try:
                results = stage.run()
            except StrategyError as error:
                return Fate(number, "raised", stage.check, f"{stage.text}: {error}"[:300])
            for result in results:
                if _caught(result):
                    return Fate(number, "wrong", stage.check, describe_failure(result)[:300])
                if result.result == "limited" and stage.text not in self.unsupported:
                    refused = refused or Fate(
                        number, "unsupported", stage.check, f"{stage.text}: {result.detail}"[:300]
                    )
        return refused or Fate(number, "survived")


def _caught(result: Check | Training) -> bool:
    """Whether a mutant is told from its original, which wastes nothing either."""
    return failed(result) or result.result == "wasteful"


def _loaded(entry: Entry) -> Any:
    found = load(entry)
    if found.error is not None:
        raise ImportError(found.error)
    return found.value


def try_all(court: Court, entries: dict[int, Entry], workers: int) -> Iterator[Fate]:
    """The fates of mutants by number, as they end."""
    context = multiprocessing.get_context("fork")
    waiting = list(entries)
    running: dict[Connection, tuple[int, Any, float]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            number = waiting.pop(0)
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_answer, args=(court, entries[number], number, theirs))
            process.start()
            theirs.close()
            running[mine] = number, process, time.monotonic()
        for pipe in wait(list(running), timeout=1):
            assert isinstance(pipe, Connection)
            number, process, began = running.pop(pipe)
            try:
                fate = Fate(**pipe.recv())
            except EOFError:
                process.join()
                fate = Fate(number, "died", "process", f"exit code {process.exitcode}")
            process.join()
            yield Fate(number, fate.outcome, fate.check, fate.detail, time.monotonic() - began)
        for pipe, (number, process, began) in list(running.items()):
            if time.monotonic() - began > SECONDS:
                process.kill()
                process.join()
                del running[pipe]
                yield Fate(number, "timeout", "process", f"{SECONDS} s", time.monotonic() - began)


def _answer(court: Court, entry: Entry, number: int, pipe: Connection) -> None:
    live_and_die_with_the_parent()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    remember_state()  # Python draws a new seed for ``random`` in every fork
    try:
        fate = court.try_(entry, number)
    except Exception as error:  # noqa: BLE001 - what a mutant makes the judge itself raise is noticed too
        fate = Fate(number, "raised", "judge", f"{type(error).__name__}: {error}"[:300])
    pipe.send(asdict(fate))
    os._exit(0)


def main() -> None:
    """See the module's docstring."""
    layer, strategy, folder, seed, workers, rehearse = sys.argv[1:]
    live_and_die_with_the_parent()
    torch.set_num_threads(1)
    if os.environ.get("TRITON_INTERPRET"):
        widen()
        quicken()
    remember_state()
    court = Court(layer, strategy, int(seed))
    found = {e.strategy: e for e in scan([str(Path(folder))]) if e.strategy}
    original = found.pop("original")
    if rehearse == "yes":
        court.rehearse()
        (own,) = try_all(court, {0: original}, 1)
        if own.outcome != "survived":
            raise SystemExit(f"the original does not pass in a fork, from the folder of its mutants: {own}")
    entries = {int(name[len("mutant") :]): e for name, e in found.items()}
    for fate in try_all(court, dict(sorted(entries.items())), int(workers)):
        print(json.dumps(asdict(fate)), flush=True)


if __name__ == "__main__":
    main()
