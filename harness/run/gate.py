"""The cells of the gate: the judge's side, which never imports a strategy but the layer's reference.

A strategy is checked in a process of its own; what takes two, in that one and in the job's second.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims
from harness.records.schema import CaseStatus, Check, Status, Training
from harness.run.jobs import Cell, Scope
from harness.run.process import Process
from harness.run.remote import Remote, SubjectDiedError, SubjectProcess
from harness.verify.asking import StrategyError
from harness.verify.judging import Question, Subject, compare, same_bits
from harness.verify.probes import Answer, Probe, WrongAnswerError, gradients
from harness.verify.soundness import UnsoundLayerError
from harness.verify.stage import Stage
from harness.verify.suite import stages
from harness.verify.wrapping import data_parallel, mean_of_both

FATAL = ("values", "launches")
"""Checks after whose failure nothing else need be asked."""


def gate(process: Process, cell: Cell) -> Iterator[Any]:
    """All checks of one strategy; the first failure becomes its status.

    Running out of memory at a size that is to be measured costs that size alone.
    """
    name, (strategy_name,) = cell.group.layer, cell.strategies
    device = process.job.device
    wrong: CaseStatus | None = None

    def status(word: Status, reason: str, **where: Any) -> CaseStatus:
        return CaseStatus(name, strategy_name, word, reason, "gate", device=device, **where)

    text = "import"
    process.about_to(str(cell.group), strategy_name, text)
    with SubjectProcess(process.job.sources, device, cell.interpret) as other:
        try:
            subject = _subject(process, Remote(other, name, strategy_name), device, cell.interpret)
            for stage in wanted(subject, process, cell):
                text = stage.text
                process.about_to(str(cell.group), strategy_name, text)
                if "compiler" in subject.claims.needs and not stage.warm:
                    other.forget()
                try:
                    results = stage.run()
                except (StrategyError, UnsoundLayerError) as error:
                    if error.status != "oom" or stage.group is None:
                        raise
                    g = stage.group
                    yield status("oom", f"{text}: {error}", dims=g.dims, dtype=g.dtype, threads=g.threads)
                    continue
                finally:
                    if device == "cuda" and stage.group is not None:
                        torch.cuda.empty_cache()  # of the oracle's float64, for the gates beside this one
                yield from results
                bad = [r for r in results if failed(r)]
                if bad and wrong is None:
                    wrong = status("wrong", describe_failure(bad[0]))
                if bad and stage.check in FATAL:
                    break
            if wrong is None and _two_wanted(cell.scope):
                text = "in two processes"
                process.about_to(str(cell.group), strategy_name, text)
                results = _in_a_fresh_one_too(process, subject, other, cell.interpret)
                yield from results
                bad = [r for r in results if failed(r)]
                if bad:
                    wrong = status("wrong", describe_failure(bad[0]))
        except StrategyError as error:
            wrong = wrong or status(error.status, f"{text}: {error}")
        except SubjectDiedError as error:
            wrong = wrong or status("crashed", f"{error} in: {text}")
        except UnsoundLayerError as error:
            wrong = wrong or status(error.status, f"the layer itself: {error}")
    if wrong is not None:
        yield wrong


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
    return compare(replace(subject, asked=_Both(pair)), PARALLEL, dims, dtype, seed, 1)
