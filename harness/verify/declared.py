"""Checks of what a strategy declares not to offer: asked all the same, and ``limited`` whatever the answer is.

The answer is kept in words, since a user of the strategy wants to know whether he would meet an error or a silent wrong
number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.layers.limits import declared
from harness.records.schema import Check, Training
from harness.verify.asking import StrategyError
from harness.verify.judging import Subject

NOT_OFFERED = "declared not to be offered"

Results = Sequence[Check | Training]


def within_limits(subject: Subject, check: str, run: Callable[[], Results]) -> Results:
    """Run a check; where it is a declared limit its results are limits.

    Raises:
        StrategyError: the strategy raised, and has not declared the check as a limit, or lacked memory.
    """
    if check not in declared(subject.claims.limits):
        return run()
    try:
        results = run()
    except StrategyError as error:
        if error.status not in ("runtime_error", "compile_error"):
            raise
        dims, dtype = subject.layer.check[0], subject.claims.sharpest_dtype
        return [subject.check(check, dtype, dims, "answer", "limited", detail=f"{NOT_OFFERED}: {error}")]
    return [_limited(r) if isinstance(r, Check) else r for r in results]


def _limited(result: Check) -> Check:
    match result.result:
        case "limited":
            told = f"{NOT_OFFERED}: {result.detail}"
        case "wrong" if result.error is not None and result.bound is not None:
            told = f"{NOT_OFFERED}, and silently wrong: error {result.error:.3g}, bound {result.bound:.3g}"
        case "wrong":
            told = f"{NOT_OFFERED}, and wrong: {result.detail}"
        case "ok":
            told = f"{NOT_OFFERED}, though it is right here"
        case _:
            return result
    return replace(result, result="limited", detail=told, upstream="")
