"""Limits of what the gate was able to judge: dtypes in which the reference can be run, and cases that have digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.records.schema import Check, Group
from harness.run.process import Process
from harness.verify.judging import Subject


def in_askable_dtypes(process: Process, subject: Subject) -> tuple[Subject, list[Check]]:
    """The strategy with those of its dtypes that its layer's reference can be run in, and a record of each other."""
    claimed = subject.claims.dtypes
    why = {dtype: reason for dtype in claimed if (reason := process.unasked(subject.layer_name, dtype))}
    able = tuple(dtype for dtype in claimed if dtype not in why)
    advice = f"say dtypes={able} in its Strategy, or mend the reference" if able else "mend the reference"
    records = [
        subject.check(
            "values", dtype, subject.layer.check[0], "answer", "not_run",
            detail=f"{dtype} is not asked: {reason}; {advice}",
        )
        for dtype, reason in why.items()
    ]  # fmt: skip
    return replace(subject, claims=replace(subject.claims, dtypes=able)), records


def unchecked_groups(values: Sequence[Check], sizes: Sequence[Group]) -> Iterator[tuple[Group, str]]:
    """Sizes to be measured of which some tensor was never judged, and why.

    Args:
        values: records of the check of that name.
    """
    names = _tensors(values)
    for group in sizes:
        kin = [c for c in values if c.dtype == group.dtype]
        here = [c for c in kin if c.dims == group.dims]
        if here and (gap := _gap(here, names)):
            yield group, gap
        elif kin and all(c.result == "not_run" for c in kin):
            yield group, kin[0].detail


def unchecked_dtype(values: Sequence[Check], dtypes: Sequence[str]) -> str:
    """Why a dtype, the first of some, has no case in which a tensor could be judged; empty where each has."""
    names = _tensors(values)
    gaps = (_gap([c for c in values if c.dtype == dtype], names) for dtype in dtypes)
    return next((f"{gap}; add a size to the layer's check" for gap in gaps if gap), "")


def _tensors(values: Sequence[Check]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c.tensor for c in values if c.result not in ("not_run", "not_applicable")))


def _gap(records: Sequence[Check], names: Sequence[str]) -> str:
    """The first tensor that was judged in none of some records, in a line."""
    for name in names:
        own = [c for c in records if c.tensor in (name, "answer")]
        if own and not any(c.result in ("ok", "wrong") or c.vanishes for c in own):
            return f"values: {name}, {own[0].dtype}, {own[0].dims}: {own[0].detail}"
    return ""
