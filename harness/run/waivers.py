"""Waivers: which refusals a user may set aside so that a strategy is timed all the same, and for whom.

Only what leaves every row true can be waived. What a timed answer rests on cannot: values, untouched operands, launched
kernels, answers that repeat and follow their values, memory that others' rows share, global state. A check that is not
listed here cannot be waived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.layers.limits import LIMITS, declared
from harness.records.schema import CHECKS
from harness.records.store import Record
from harness.run.wanted import UsageError

WAIVABLE = (
    *LIMITS, "cotangents", "layouts", "magnitudes", "side_by_side", "updated_between", "accumulation", "frozen",
    "backward_returns", "dead_backward", "far_apart", "causality", "shapes", "long", "many_elements", "gradcheck",
    "search", "training",
)  # fmt: skip


def refuse_unknown(asked: Iterable[str], strategies: Sequence[str], baselines: Iterable[str]) -> None:
    """Hold what is asked for, each ``CHECK`` or ``CHECK:STRATEGY``, against what there is.

    Args:
        baselines: strategies that others are compared with in this run.

    Raises:
        UsageError: an unknown check or strategy, a check that cannot be waived, or a waiver for a baseline.
    """
    for text in asked:
        check, _, strategy = text.partition(":")
        if check not in CHECKS:
            raise UsageError(f"--waive {text}: unknown check {check!r}: choose from {', '.join(WAIVABLE)}")
        if check not in WAIVABLE:
            raise UsageError(
                f"--waive {text}: {check} cannot be waived, since times rest on it: mend it, or choose from"
                f" {', '.join(WAIVABLE)}"
            )
        if ":" in text and strategy not in strategies:
            raise UsageError(f"--waive {text}: unknown strategy {strategy!r}: choose from {', '.join(strategies)}")
        if strategy in baselines:
            raise UsageError(
                f"--waive {text}: {strategy} is a baseline, and a waived row cannot be one: give another --baseline"
            )


def waived_for(asked: Iterable[str], strategy: str) -> tuple[str, ...]:
    """Checks that are waived for a strategy, with those that rest on them."""
    found = (text.partition(":") for text in asked)
    return tuple(sorted(declared(check for check, _, name in found if name in ("", strategy))))


def set_aside(waived: Record) -> str:
    """The line that is said at once of a refusal that is set aside."""
    where = f"{waived['layer']}/{waived['strategy']}"
    return f"{where}: {waived['check']} is waived, so its rows have no verdict: {waived['reason']}"


def unneeded(asked: Iterable[str], waived: Iterable[Record]) -> list[str]:
    """A line for each waiver that nobody needed.

    Args:
        waived: records of those that were needed.
    """
    used = [(r["check"], r["strategy"]) for r in waived]
    return [
        f"note  --waive {text} was not needed: it sets nothing aside, and marks no row"
        for text in dict.fromkeys(asked)
        if not any(check in waived_for((text,), strategy) for check, strategy in used)
    ]
