"""The cells that time strategies in pairs, and what a group needs to be made ready."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.layers.drawing import Values, draw
from harness.measure.clock import Clock, clocks_for
from harness.measure.conditions import conditions_of
from harness.measure.draws import Draws, Visit
from harness.measure.passes import Ready, ready
from harness.measure.sampler import Arm, Series, sample, warm_up
from harness.records.advice import ENDED, TIMED, with_next
from harness.records.dims import dims_of
from harness.records.modes import LOOPED
from harness.records.schema import CaseStatus, FirstCall, Group, Rounds, Samples, Status
from harness.run.answers import WHOLE, TimedAnswers
from harness.run.jobs import METER_TOUCHED, Cell, note_bytes
from harness.run.process import Process, forget_compiled, leave_if_the_device_is_lost
from harness.verify.asking import status_of
from harness.verify.oracle import RETRY_BELOW

DIGEST_ELEMENTS = 2**20
UNCAPTURED = "it replays CUDA graphs of its own, which cannot be part of another"


class Bench:
    """A group made ready: values drawn, each strategy built and warmed up; those that fail are left out.

    Args:
        launch: number of the process among those of the group, each of which has contents of its own.
    """

    def __init__(self, process: Process, group: Group, launch: int = 0) -> None:
        self.process, self.group = process, group
        process.about_to(str(group), "", "drawing the values")
        torch.set_num_threads(group.threads)
        forget_compiled()
        self.layer = process.layer(group.layer)
        self.dims = dims_of(group.dims)
        dtype: torch.dtype = getattr(torch, group.dtype)
        self.values: Values = draw(self.layer, self.dims, dtype, group.device, process.job.seed)
        self.draws = Draws(self.layer, self.dims, self.values, (process.job.seed << 20) + launch)
        self.timed = TimedAnswers(
            self.layer, process.strategy(group.layer, self.layer.reference), self.dims, dtype, self.draws
        )

    def ready(self, strategy: str) -> Ready:
        """A strategy, with parameters of its own."""
        return ready(self.layer, self.process.strategy(self.group.layer, strategy), self.dims, self.values, self.draws)

    def first_call(self, made: Ready) -> float:
        """Seconds of the first forward and backward, compilation included."""
        call = made.calls["forward_backward"]
        started = time.perf_counter()
        call.run(call.prepare())
        self.synchronize()
        return time.perf_counter() - started

    def digest(self, made: Ready) -> str:
        """A digest of output and gradients for the group's values, bit for bit; of large ones some elements."""
        made.refill(self.values)
        sha = hashlib.sha256()
        for tensor in _answers(made, WHOLE):
            flat = tensor.flatten()
            some = flat[:: max(1, flat.numel() // DIGEST_ELEMENTS)].contiguous().cpu()
            sha.update(some.view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()[:16]

    def judge(self, made: Ready, passed: str) -> str:
        """What is wrong with a pass's answers now that they have been timed, where anything is.

        Other values are written over the very tensors that were timed, and the gate's rule for the norm is put to the
        answers: a strategy that is right when it is checked and quick when it is timed is found here.
        """
        name, ratio = self.timed.worst_afterwards(made, passed, self.process.job.seed)
        return _wrong(name, "" if passed == WHOLE else passed, ratio) if ratio > 1 else ""

    def judge_timed(self, made: Ready, passed: str, visits: Sequence[Visit]) -> str:
        """The fault of the answers that timed calls of a pass gave, where anything is.

        What exceeds its bound, and not by so much that it cannot be bad luck, is asked further.
        """
        found = self.timed.ratios(passed, visits)
        name = max(found, key=lambda n: found[n])
        if found[name] >= RETRY_BELOW:
            return f"{_wrong(name, passed, found[name])}; each call has other operands: is an answer kept?"
        return self.judge(made, passed if passed in LOOPED else WHOLE) if found[name] > 1 else ""

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.group.device == "cuda":
            torch.cuda.synchronize()

    def failed(self, strategy: str, stage: str, error: Exception, passed: str = "") -> CaseStatus:
        """The status of a strategy that raised."""
        leave_if_the_device_is_lost(self.group.device)
        status, reason = status_of(error)
        return self.status(strategy, status, with_next(reason, ENDED[status] if strategy else ""), stage, passed)

    def status(self, strategy: str, status: Status, reason: str, stage: str, passed: str = "") -> CaseStatus:
        """The status of a strategy in this group."""
        g = self.group
        return CaseStatus(g.layer, strategy, status, reason, stage, g.dims, g.dtype, g.device, g.threads, passed)

    def own_graphs(self, strategy: str) -> bool:
        """Whether it replays CUDA graphs of its own here."""
        return self.group.device == "cuda" and self.process.strategy(self.group.layer, strategy).own_graphs


def _answers(made: Ready, passed: str) -> list[torch.Tensor]:
    """Output and gradients, or of a looped pass the gradients of the parameters, stacked."""
    call = made.calls[passed]
    return [t.detach() for t in call.answer(call.run(call.prepare()))]


def _wrong(name: str, passed: str, ratio: float) -> str:
    where = f" in {passed}" if passed else ""
    return f"wrong where it was timed: {name}{where} is {ratio:.3g} × as far from the truth as allowed"


@dataclass(frozen=True)
class _Warm:
    made: Ready
    steady: bool
    digest: str


def time_group(process: Process, cells: Sequence[Cell]) -> None:
    """The timing cells of one group in one launch: first calls, warm-up, then paired rounds pass by pass.

    The first cell's seconds hold the warm-up, so that what a group takes is the sum of its cells.
    """
    started = time.perf_counter()
    job, group, launch = process.job, cells[0].group, cells[0].launch
    wall, conditions = clocks_for(group.device)["wall"], conditions_of(group.device)
    bench = Bench(process, group, launch)
    warm: dict[str, _Warm] = {}
    again: Ready | None = None
    extra: list[Any] = []
    for strategy in dict.fromkeys(s for cell in cells for s in cell.strategies):
        process.about_to(str(group), strategy, "first call and warm-up")
        loading = time.perf_counter()
        try:
            made = bench.ready(strategy)
            loaded = time.perf_counter() - loading
            seconds = bench.first_call(made)
            warming = time.perf_counter()
            steady = warm_up(made.calls["forward_backward"], wall)
            warmed = time.perf_counter() - warming
            warm[strategy] = _Warm(made, steady, bench.digest(made))
            if strategy == cells[0].baseline:
                again = bench.ready(strategy)
        except Exception as error:  # noqa: BLE001 - a strategy may raise anything; it becomes its status
            extra.append(bench.failed(strategy, "time", error))
        else:
            extra.append(FirstCall(group, strategy, launch, False, seconds, warmed, loaded))
        _leave_if_touched(process, group, strategy)

    timed: dict[str, list[str]] = {WHOLE: list(warm)}
    notes = {s: note_bytes(str(group), s, f"launch {launch}") for s in warm}
    if not gc.get_freeze_count():  # all that a compiler loads takes the collector 0.2 s, each time: once is enough
        gc.collect()
        gc.freeze()
    for cell in cells:
        unseen, statuses = _unseen(bench, cell.passed)
        extra += statuses
        for regime, clock in _clocks(group.device, cell.passed).items():  # anew: the last pass's CUDA graphs are let go
            able = {s: warm[s].made for s in cell.strategies if s in warm}
            if regime == "device_hot":
                own = [s for s in able if bench.own_graphs(s)]
                extra += [bench.status(s, "unsupported", UNCAPTURED, regime, cell.passed) for s in own]
                able = {s: made for s, made in able.items() if s not in own}
            while able:
                arms = [Arm(s, False, made.calls[cell.passed]) for s, made in able.items()]
                if again is not None and cell.baseline in able:
                    arms.append(Arm(cell.baseline, True, again.calls[cell.passed]))
                rng = random.Random(f"{job.seed} {cell.name} {regime}")
                current: list[str] = []
                sampling = time.perf_counter()
                noting = _noting(process, notes, current)
                try:
                    series, rounds = sample(arms, clock, job.seconds, rng, noting, conditions, draws=bench.draws)
                except Exception as error:  # noqa: BLE001 - see above
                    stage = "time" if regime == "wall" else regime
                    extra.append(bench.failed(current[0], stage, error, cell.passed))
                    del able[current[0]]
                else:
                    extra += [_samples(group, one, cell.passed, launch, warm, regime) for one in series]
                    if cell.passed in LOOPED:
                        timed.setdefault(cell.passed, list(able))
                    told = [n for n in rounds.readings[0] if all(n in r for r in rounds.readings)]
                    readings = {n: [r[n] for r in rounds.readings] for n in told}
                    spent = time.perf_counter() - sampling
                    judged = len(series[0].judged)
                    extra.append(
                        Rounds(group, cell.passed, launch, regime, rounds.redone, readings, spent, judged, unseen)
                    )
                    refused = list(_refused(bench, warm, cell.passed, regime, series))
                    extra += refused
                    for status in refused:
                        warm.pop(status.strategy, None)
                    break
        if touched := process.touched():
            why = f"{touched[0]} was changed while {cell.passed} was timed, and the meter rests on it"
            extra.append(bench.status("", "wrong", why, "time"))
        if cell is cells[-1]:
            del clock  # and with it the graphs of the last pass, whose memory the judge may need
            if group.device == "cuda":
                torch.cuda.empty_cache()
            for passed, names in timed.items():
                extra += _judged(bench, warm, passed, [name for name in names if name in warm])
        process.close(cell, extra, time.perf_counter() - started)
        extra, started = [], time.perf_counter()


def _leave_if_touched(process: Process, group: Group, strategy: str) -> None:
    """End the process if a strategy has changed what the meter rests on: the others go on in a fresh one without it."""
    if touched := process.touched():
        process.about_to(str(group), strategy, f"first call and warm-up ({touched[0]} was changed)")
        os._exit(METER_TOUCHED)


def _clocks(device: str, passed: str) -> dict[str, Clock]:
    """All of a device's; of a pass that loops in Python the wall's alone, for the loop is what it is about."""
    clocks = clocks_for(device)
    return {"wall": clocks["wall"]} if passed in LOOPED else clocks


def _samples(group: Group, one: Series, passed: str, launch: int, warm: dict[str, _Warm], regime: str) -> Samples:
    mine, strategy = warm[one.arm.strategy], one.arm.strategy
    used = [s.used for s in one.samples]
    return Samples(
        group, strategy, one.arm.again, passed, launch, one.calls, seconds=one.seconds,
        order=[s.order for s in one.samples], faults=[u.faults for u in used], switches=[u.switches for u in used],
        cpu_seconds=[round(u.cpu_seconds, 6) for u in used], wall_seconds=[round(u.wall_seconds, 6) for u in used],
        steady=mine.steady, digest=mine.digest, regime=regime, call_seconds=one.call_seconds,
        new_contents=one.new,
    )  # fmt: skip


def _unseen(bench: Bench, passed: str) -> tuple[str, list[CaseStatus]]:
    """The stale answer that would pass for right in a pass, or why nothing can be judged in it."""
    bench.process.about_to(str(bench.group), "", "the reference's answers")
    try:
        return bench.timed.unseen(passed), []
    except Exception as error:  # noqa: BLE001 - the reference may not fit in float64: nobody's fault, but said
        status = bench.failed("", "judge", error, passed)
        return f"the reference has none: {status.reason}", [status]


def _refused(
    bench: Bench, warm: dict[str, _Warm], passed: str, regime: str, series: Sequence[Series]
) -> Iterator[CaseStatus]:
    """Statuses of those whose timed answers are wrong: nothing of them in this group is to be believed."""
    for name, visits in _by_strategy(series).items():
        bench.process.about_to(str(bench.group), name, f"its timed answers in {passed}")
        try:
            wrong = bench.judge_timed(warm[name].made, passed, visits)
        except Exception as error:  # noqa: BLE001 - see above
            yield bench.failed(name, "time", error)
        else:
            if wrong:
                yield bench.status(name, "wrong", wrong + ("" if regime == "wall" else f" ({regime})"), "time")


def _by_strategy(series: Sequence[Series]) -> dict[str, list[Visit]]:
    found: dict[str, list[Visit]] = {}
    for one in series:
        found.setdefault(one.arm.strategy, []).extend(one.judged)
    return found


def _judged(bench: Bench, warm: dict[str, _Warm], passed: str, names: Sequence[str]) -> Iterator[CaseStatus]:
    """Statuses of those whose answers are wrong; of all their passes, or of a looped one alone."""
    g, alone = bench.group, "" if passed == WHOLE else passed
    if names:
        bench.process.about_to(str(g), "", "the reference's answers")
        try:
            bench.timed.other(passed, 1, bench.process.job.seed)
        except Exception as error:  # noqa: BLE001 - the reference may not fit in float64: nobody's fault, but said
            yield bench.failed("", "judge", error, alone)
            return
    for strategy in names:
        bench.process.about_to(str(g), strategy, "its answers after the timing")
        try:
            wrong = bench.judge(warm[strategy].made, passed)
        except Exception as error:  # noqa: BLE001 - see above
            yield bench.failed(strategy, "time", error, alone)
        else:
            if wrong:
                yield bench.status(strategy, "wrong", with_next(wrong, TIMED), "time", alone)


def _noting(process: Process, notes: dict[str, bytes], current: list[str]) -> Callable[[Arm], None]:
    def about_to(arm: Arm) -> None:
        current[:] = [arm.strategy]
        process.write_note(notes[arm.strategy])

    return about_to
