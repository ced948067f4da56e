"""Records from a stranger: every field is held against the schema before anything is computed from it.

What analysis and report do with records was written for records of our own: names become file names, sizes become
axes. So names are checked to be names, numbers to be numbers, and there is a bound on how much of anything there is.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from harness.publish.opening import BundleError
from harness.records.modes import KNOWN_PASSES
from harness.records.older import FIELDS
from harness.records.schema import DEVICES, DTYPES, KINDS, Group
from harness.records.store import FILE, MOST_BYTES, Record, Run, StoreError, read
from harness.report.escaping import terminal

MOST = {"groups": 1_000, "strategies": 500, "layers": 200}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
DIMS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}=[0-9]{1,12}(,[A-Za-z_][A-Za-z0-9_]{0,31}=[0-9]{1,12}){0,15}", re.ASCII)
_NUMBER_WORDS = ("nan", "inf", "-inf")


def read_run(folder: Path) -> Run:
    """The run of a folder, checked.

    Raises:
        BundleError: there are no records, damaged ones, or some that are not of the schema.
    """
    path = folder / FILE
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise BundleError(f"refused: {FILE} is larger than {MOST_BYTES // 2**20} MiB")
    with foreign("the records"):
        run = read(folder)
        if run.warnings:
            raise BundleError(f"{run.warnings[0]}: the evidence is not whole")
    refuse_odd(run)
    return run


def refuse_odd(run: Run) -> None:
    """Hold a run that has been read against the schema.

    Raises:
        BundleError: a field is not what it must be.
    """
    with foreign("the records"):
        for kind, records in run.records.items():
            for record in records:
                problem = _problem(str(kind), record)
                if problem:
                    raise BundleError(f"{FILE}: a {terminal(kind)} record: {terminal(problem)}")
        _check_header(run)


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn what odd data do to code that trusts them into one line.

    Raises:
        BundleError: instead of what analysis raises where fields are missing or make no sense together.
    """
    try:
        yield
    except BundleError:
        raise
    except StoreError as error:  # says it in a line already
        raise BundleError(terminal(str(error))) from None
    except (
        ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
        ValueError, StopIteration, RuntimeError, OSError,
    ) as error:  # fmt: skip
        name = type(error).__name__
        raise BundleError(f"{what} cannot be read: {name}: {terminal(str(error)[:200])}") from None


@cache
def _fields(kind: str) -> dict[str, Any]:
    """Types by field of a kind of record; empty for kinds that this program does not know."""
    found = [c for c, name in KINDS.items() if name == kind]
    if not found:
        return {}
    hints = typing.get_type_hints(found[0])
    fields: dict[str, Any] = dict(FIELDS.get(kind, {}))
    for field in dataclasses.fields(found[0]):
        if hints[field.name] is Group:
            fields |= typing.get_type_hints(Group)
        else:
            fields["pass" if field.name == "passed" else field.name] = hints[field.name]
    return fields


def _problem(kind: str, record: Record) -> str | None:
    for name, due in _fields(kind).items():
        if name in record and not _is(record[name], due):
            return f"{name} is {str(record[name])[:60]!r}"
    for name in ("layer", "strategy"):
        value = record.get(name, "")
        if not isinstance(value, str) or (value and not NAME.fullmatch(value)):
            return f"{name} is {str(value)[:60]!r}"
    for name, known in (("device", DEVICES), ("pass", KNOWN_PASSES), ("dtype", DTYPES)):
        value = record.get(name, "")
        if kind != "environment" and value not in ("", *known):
            return f"{name} is {str(value)[:60]!r}"
    if kind in ("samples", "memory", "rounds", "work", "first_call") and not DIMS.fullmatch(record["dims"]):
        return f"dims is {record['dims'][:60]!r}"
    if kind == "samples":
        return _samples_problem(record)
    return None


def _samples_problem(record: Record) -> str | None:
    seconds, of_a_call = record["seconds"], record.get("call_seconds") or record["seconds"]
    times = (*seconds, *of_a_call)
    if not times or any(isinstance(s, str) or not 0 < s < math.inf for s in times) or record["calls"] < 1:
        return "seconds and calls must be above 0"
    arrays = ("order", "faults", "switches", "cpu_seconds", "wall_seconds")
    if any(len(found) != len(seconds) for found in (of_a_call, *(record[name] for name in arrays))):
        return "its lists are of different lengths"
    return None


def _is(value: Any, due: Any) -> bool:
    origin, inside = typing.get_origin(due), typing.get_args(due)
    if due is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in inside)
    if origin in (list, tuple):
        return isinstance(value, list) and all(_is(v, inside[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, inside[0]) and _is(v, inside[1]) for k, v in value.items())
    if due is float:
        return (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in _NUMBER_WORDS
    if due is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if due is type(None) else isinstance(value, due)


def _check_header(run: Run) -> None:
    header = run.of("run")[0]
    counts = {
        "groups": len(header.get("groups", [])), "strategies": len(run.of("strategy")), "layers": len(run.of("layer")),
    }  # fmt: skip
    for what, most in MOST.items():
        if counts[what] > most:
            raise BundleError(f"refused: {counts[what]} {what}, more than {most}")
    for group in header.get("groups", []):
        sound = _is(group, dict[str, Any]) and NAME.fullmatch(group["layer"]) and DIMS.fullmatch(group["dims"])
        if (
            not sound
            or group["dtype"] not in DTYPES
            or group["device"] not in DEVICES
            or not _is(group["threads"], int)
            or not {*group.get("passes", ())} <= {*KNOWN_PASSES}
        ):
            raise BundleError(f"{FILE}: the run record: a group is {terminal(str(group)[:80])}")
    names = [*header["baselines"], *header["baselines"].values(), *header["wanted"]["layers"],
             *header["wanted"]["strategies"]]  # fmt: skip
    for name in names:
        if not NAME.fullmatch(name):
            raise BundleError(f"{FILE}: the run record: {terminal(name[:60])} is not a name")
    passes, known = header["passes"], set(KNOWN_PASSES)
    if not _is(passes, list[str]) or not set(passes) <= known or len(passes) > len(known):
        raise BundleError(f"{FILE}: the run record: its passes are not known")
    if not _is(header.get("modes", {}), dict[str, str]):
        raise BundleError(f"{FILE}: the run record: its definitions of passes are no text")
    if not set(header.get("devices", ())) <= set(DEVICES):
        raise BundleError(f"{FILE}: the run record: its devices are not known")
    seed = header["wanted"].get("seed", 0)
    if not _is(seed, int) or not 0 <= seed < 2**63:
        raise BundleError(f"{FILE}: the run record: its seed is no seed")
    if not 1 <= int(header.get("looks", 1)) <= 100:
        raise BundleError(f"{FILE}: the run record: looks is not a number of looks")
