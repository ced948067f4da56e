"""The cells of the gate: the judge's side, which never imports a strategy but the layer's reference.

A strategy is checked in a process of its own; what takes two, in that one and in the job's second.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims
from harness.records.advice import ENDED, of_check, with_next
from harness.records.dims import dims_of
from harness.records.gate import Waived
from harness.records.schema import JUDGE, CaseStatus, Check, Group, Result, Status, Training
from harness.run.coverage import in_askable_dtypes, unchecked_dtype, unchecked_groups
from harness.run.deaths import crash, proof
from harness.run.jobs import Cell, Scope
from harness.run.process import Process
from harness.run.remote import Remote, SubjectDiedError, SubjectProcess
from harness.verify.asking import StrategyError, status_of
from harness.verify.declared import within_limits
from harness.verify.judging import Subject, compare, same_bits
from harness.verify.oracle import UnusableYardstickError
from harness.verify.probes import Answer, Probe, WrongAnswerError, gradients
from harness.verify.reference import Question
from harness.verify.soundness import UnsoundLayerError
from harness.verify.stage import Stage
from harness.verify.suite import stages
from harness.verify.wrapping import data_parallel, mean_of_both

FATAL = ("values", "launches")
"""Checks after whose failure nothing else need be asked."""


def gate(process: Process, cell: Cell) -> Iterator[Any]:
    """All checks of one strategy; the first failure becomes its status, unless all of them are waived.

    Running out of memory at a size that is to be measured costs that size alone. Where the judge itself fails in a
    check, the strategy is ``unchecked`` unless it is found wrong by another one.
    """
    tally, text = _Tally(cell), "import"
    stage: Stage | None = None
    process.about_to(str(cell.group), tally.strategy, text)
    with SubjectProcess(process.job.sources, tally.device, cell.interpret) as other:
        try:
            remote = Remote(other, tally.layer, tally.strategy)
            subject, values = in_askable_dtypes(process, _subject(process, remote, tally.device, cell.interpret))
            yield from values
            for stage in wanted(subject, process, cell) if subject.claims.dtypes else ():
                text = stage.text
                process.about_to(str(cell.group), tally.strategy, text)
                if "compiler" in subject.claims.needs and not stage.warm:
                    other.forget()
                try:
                    results = answered(subject, stage)
                except (StrategyError, UnsoundLayerError) as error:
                    yield from tally.without_answer(subject, stage, error)
                    continue
                finally:
                    if tally.device == "cuda" and stage.group is not None:
                        torch.cuda.empty_cache()  # of the oracle's float64, for the gates beside this one
                yield from results
                values += [r for r in results if isinstance(r, Check) and r.check == "values"]
                if tally.take(results) and stage.check in FATAL:
                    break
            if tally.refused is None and tally.unchecked is None and subject.claims.dtypes and _two_wanted(cell.scope):
                text, stage = "in two processes", None
                process.about_to(str(cell.group), tally.strategy, text)
                results = [*_in_a_fresh_one_too(process, subject, other, cell.interpret)]
                yield from results
                tally.take(results)
            yield from tally.uncovered(values, subject.claims.dtypes, cell.sizes)
        except StrategyError as error:
            step = ENDED.get(error.status, "") if text != "import" else ""
            tally.refuse(error.status, with_next(f"{text}: {error}", step))
        except SubjectDiedError as error:
            if stage and (detail := proof(error, stage.check)):
                results = [_of_stage(subject, stage, "answer", "wrong", detail)]
                yield from results
                tally.take(results)
            else:
                tally.refuse("crashed", with_next(crash(error, stage.check if stage else "", text), ENDED["crashed"]))
        except UnsoundLayerError as error:
            tally.refuse(error.status, f"the layer itself: {error}")
    yield from tally.outcome()


class _Tally:
    """The outcome of the checks of one strategy.

    Attributes:
        refused: the first failure that is not waived.
        unchecked: why nothing can be said, where a question has no answer.
        waived: failures that are waived, by check.
    """

    def __init__(self, cell: Cell) -> None:
        self.layer, (self.strategy,), self.device = cell.group.layer, cell.strategies, cell.group.device
        self.waive = cell.waive
        self.refused: CaseStatus | None = None
        self.unchecked: CaseStatus | None = None
        self.waived: dict[str, str] = {}

    def status(self, word: Status, reason: str, group: Group | None = None) -> CaseStatus:
        """A status of the strategy, of all sizes or of one that is to be measured."""
        where: dict[str, Any] = {} if group is None else {
            "dims": group.dims, "dtype": group.dtype, "threads": group.threads
        }  # fmt: skip
        return CaseStatus(self.layer, self.strategy, word, reason, "gate", device=self.device, **where)

    def refuse(self, word: Status, reason: str) -> None:
        """Take note of a failure."""
        self.refused = self.refused or self.status(word, reason)

    def take(self, results: Sequence[Check | Training]) -> bool:
        """Take note of results; whether one refuses the strategy."""
        bad = [r for r in results if failed(r)]
        held = [r for r in bad if _check_of(r) not in self.waive]
        for r in bad:
            if _check_of(r) in self.waive:
                self.waived.setdefault(_check_of(r), describe_failure(r))
        if held:
            self.refuse("wrong", _reason(held[0]))
        for r in results:
            if unjudged(r):
                self.unchecked = self.unchecked or self.status("unchecked", r.detail)
        return bool(held)

    def without_answer(
        self, subject: Subject, stage: Stage, error: StrategyError | UnsoundLayerError
    ) -> Iterator[CaseStatus | Check]:
        """The outcome of a stage that raised, where others can be asked all the same.

        Raises:
            StrategyError, UnsoundLayerError: the one given, where nothing else need be asked.
        """
        if error.status == "unsupported":  # by Triton's interpreter, which may do what others ask for
            yield _of_stage(subject, stage, "answer", "not_run", str(error))
            self.unchecked = self.unchecked or self.status("unsupported", str(error))
        elif isinstance(error, StrategyError) and stage.check in self.waive and error.status != "oom":
            self.waived.setdefault(stage.check, f"{stage.text}: {error}")
        elif error.status == "oom" and stage.group is not None:
            yield self.status("oom", f"{stage.text}: {error}", stage.group)
        else:
            raise error

    def uncovered(self, values: Sequence[Check], dtypes: Sequence[str], sizes: Sequence[Group]) -> Iterator[CaseStatus]:
        """Sizes to be measured of which nothing could be judged; takes note of such dtypes."""
        for group, gap in unchecked_groups(values, sizes):
            yield self.status("unchecked", gap, group)
        measured = {g.dtype for g in sizes}
        gap = unchecked_dtype(values, [d for d in dtypes if d not in measured])
        if gap or not dtypes:
            self.unchecked = self.unchecked or self.status("unchecked", gap or values[0].detail)

    def outcome(self) -> Iterator[CaseStatus | Waived]:
        """The strategy's status where it has one, else what is waived."""
        if status := self.refused or self.unchecked:
            yield status
            return
        yield from (Waived(self.layer, self.strategy, self.device, *pair) for pair in self.waived.items())


def answered(subject: Subject, stage: Stage) -> list[Check | Training]:
    """Run a stage; the one place where what it raises besides becomes a record.

    An answer that is wrong whatever its numbers is the strategy's, wherever it is met. Any other error is the judge's:
    its record says so, and what was found before and will be found after it stands.

    Raises:
        StrategyError, SubjectDiedError, UnsoundLayerError: which end the strategy's gate.
    """
    try:
        return [*stage.run()]
    except WrongAnswerError as wrong:
        return [_of_stage(subject, stage, wrong.tensor, "wrong", str(wrong))]
    except UnusableYardstickError as error:
        return [_of_stage(subject, stage, "answer", "not_run", str(error))]
    except (StrategyError, SubjectDiedError, UnsoundLayerError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever the judge fails by
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        words = f"the judge failed in {stage.text}, which is no fault of the strategy: {status_of(error)[1]} ({where})"
        return [_of_stage(subject, stage, JUDGE, "not_run", words)]


def _of_stage(subject: Subject, stage: Stage, tensor: str, result: Result, detail: str) -> Check:
    dims = dims_of(stage.dims) if stage.dims else subject.layer.check[0]
    return subject.check(stage.check, stage.dtype or subject.claims.working_dtype, dims, tensor, result, detail=detail)


def unjudged(result: Check | Training) -> bool:
    """Tell whether a result says that the judge failed."""
    return isinstance(result, Check) and result.tensor == JUDGE


def wanted(subject: Subject, process: Process, cell: Cell) -> Iterator[Stage]:
    """The stages within the cell's scope."""
    scope = cell.scope
    for stage in stages(subject, process.job.seed, scope.level, cell.sizes):  # type: ignore[arg-type]
        chosen = not scope.checks or stage.check in scope.checks
        dtype = not scope.dtypes or stage.dtype in ("", *scope.dtypes)
        if chosen and dtype and (not scope.dims or stage.dims in ("", scope.dims)):
            yield stage


def _two_wanted(scope: Scope) -> bool:
    return scope.level != "quick" and (scope.whole or bool({*scope.checks} & {"fresh_process", PARALLEL.check}))


def _subject(process: Process, remote: Remote, device: str, interpret: bool) -> Subject:
    layer = process.layer(remote.layer)
    return Subject(
        remote.layer,
        layer,
        remote.strategy,
        remote.claims(),
        remote,
        process.yardstick(remote.layer),
        device,
        interpret,
    )


def failed(result: Check | Training) -> bool:
    """Whether a result is held against the strategy."""
    return result.result == "wrong" and not (isinstance(result, Check) and result.upstream)


def _check_of(result: Check | Training) -> str:
    return "training" if isinstance(result, Training) else result.check


def _reason(result: Check | Training) -> str:
    """A failure in a line, with what to do next."""
    about = (result.tensor, result.detail) if isinstance(result, Check) else ()
    return with_next(describe_failure(result), of_check(_check_of(result), *about))


def describe_failure(result: Check | Training) -> str:
    """One line: check, tensor, where, error and bound."""
    if isinstance(result, Training):
        return f"training: {result.dtype}: {result.detail}"
    numbers = f": error {result.error:.3g}, bound {result.bound:.3g}" if result.error is not None else ""
    setting = f", {result.setting}" if result.setting else ""
    detail = f" ({result.detail})" if result.detail else ""
    return (
        f"{result.check}: {result.tensor}, {result.dtype}, {result.dims}{setting}, seed {result.seed}{numbers}{detail}"
    )


PARALLEL = Question("data_parallel", data_parallel, mean_of_both, count=2, optional=True)


def _in_a_fresh_one_too(process: Process, subject: Subject, other: SubjectProcess, interpret: bool) -> list[Check]:
    """What takes two processes, in the strategy's own and in one that has never met it."""
    with process.second(interpret) as second:
        pair = tuple(Remote(each, subject.layer_name, subject.strategy_name) for each in (other, second))
        if "compiler" in subject.claims.needs:
            other.forget()
            second.forget()
        found = [*_fresh(subject, pair, process.job.seed)]
        return found + in_two_processes(subject, pair, process.job.seed)


def _fresh(subject: Subject, pair: Sequence[Remote], seed: int) -> Iterator[Check]:
    """Whether two processes give the same bits; a class, not a judgement."""
    dims, dtype = subject.layer.check[0], subject.claims.working_dtype
    values = [subject.draw(dims, dtype, seed)]
    one, two = (each.ask(gradients, dims, values) for each in pair)
    for name in one:
        word = "bitwise" if same_bits(one[name], two[name]) else "within noise"
        yield subject.check("fresh_process", dtype, dims, name, "ok", seed=seed, detail=word)


class _Both:
    """Asks two processes at a time, as the two ranks of one job; answers with what the first says."""

    def __init__(self, pair: Sequence[Remote]) -> None:
        self._pair = pair

    def ask(self, probe: Probe, dims: Dims, values: Sequence[Values], **options: Any) -> Answer:
        """See ``Asked``."""
        answers: list[Answer] = []
        problems: list[Exception] = []
        with tempfile.TemporaryDirectory() as scratch:
            for rank, each in enumerate(self._pair):
                each.begin(probe, dims, values, rank=rank, meeting=f"{scratch}/meeting", **options)
            for each in self._pair:
                try:
                    answers.append(each.finish())
                except (WrongAnswerError, StrategyError) as error:
                    problems.append(error)
        if problems:
            raise problems[0]
        for name, tensor in answers[0].items():
            if not same_bits(tensor, answers[1][name]):
                raise WrongAnswerError(name, "differs between the two processes")
        return answers[0]


def in_two_processes(subject: Subject, pair: Sequence[Remote], seed: int) -> list[Check]:
    """Data-parallel training of a strategy that both processes hold."""
    dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
    if subject.claims.gradients != "tape":
        reason = "gradients don't go through the tape"
        return [subject.check("data_parallel", dtype, dims, "answer", "not_applicable", detail=reason)]
    asked = replace(subject, asked=_Both(pair))
    found = within_limits(subject, PARALLEL.check, lambda: compare(asked, PARALLEL, dims, dtype, seed, 1))
    return [c for c in found if isinstance(c, Check)]
