"""Claims: sentences with a test, as a person writes them in TOML and as a bundle keeps them in JSON."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import tomllib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.publish.opening import BundleError, read_json
from harness.records.dims import dims_of
from harness.records.modes import KNOWN_PASSES
from harness.records.older import RENAMED, upgraded_claim
from harness.records.schema import DEVICES, DTYPES, SCHEMA
from harness.report.escaping import terminal

FILE = "claims.json"
Kind = Literal["ratio", "winner", "memory", "converges", "correct", "bits"]
KINDS = typing.get_args(Kind)
QUANTITIES = ("saved", "forward_peak", "backward_peak", "step_peak", "step_with_loss_peak")
OPERATORS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}
SELECTORS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip
MOST_CLAIMS = 1_000
MODES: dict[str, tuple[str, ...]] = {
    "all": KINDS,
    "numerics": ("memory", "converges", "correct", "bits"),
    "timing": ("ratio", "winner"),
}
"""Kinds of claims that a reproduction asks about."""
_TERM = re.compile(r"([A-Za-z_]\w*)\s*(>=|<=|=|>|<)\s*(\d{1,12})", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

_WAIVED = re.compile(r"(\w+ waived: \w+(, \w+)*(; (?!$)|$))*", re.ASCII)


class ClaimError(BundleError):
    """A claim that makes no sense; one clear line that names it."""


@dataclass(frozen=True)
class Claim:
    """A sentence with a test.

    Attributes:
        kind: ``ratio`` (speed-up of ``strategy`` over ``against``), ``winner`` (its speed-up over every other one),
            ``memory`` (its bytes ÷ those of ``against``), ``converges``, ``correct`` (worst error ÷ bound), ``bits``
            (different digests of output and gradients over all launches).
        strategy: empty for all, where the kind allows it (``converges``, ``correct``, ``bits``).
        dims: ``N=4,D=8`` or terms such as ``T>=2048``, or empty for all sizes.
        passed: empty for all passes.
        quantity: of a ``memory`` claim.
        operator, threshold: must hold in every case that is selected.
        value, low, high: published: of the weakest case; the interval is of 95 %.
        n: launches (ratio, winner, bits), starts (converges), checks (correct) or measurements (memory).
        verdict: of the evidence that it was published with.
        drafted: written after the results were known.
        minutes: that its evidence took.
        waived: which of its strategies were timed though the gate had refused them, and the checks that were waived.
    """

    id: str
    kind: Kind
    layer: str
    strategy: str = ""
    against: str = ""
    device: str = "cpu"
    dtype: str = ""
    threads: int = 1
    passed: str = ""
    dims: str = ""
    quantity: str = "saved"
    operator: str = ">="
    threshold: float = 1.0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    verdict: str = ""
    drafted: bool = False
    minutes: float = 0.0
    waived: str = ""

    @property
    def sentence(self) -> str:
        """In words."""
        return self._plain + (f" ({self.waived})" if self.waived else "")

    @property
    def _plain(self) -> str:
        who, where = self.strategy or "every strategy", f" on {self.device}"
        sizes = f" at {self.dims}" if self.dims else " at all sizes"
        case = f"{self.layer}{sizes}, {self.dtype or 'all dtypes'},{where}"
        threads = f", {self.threads} threads" if self.threads != 1 else ""
        passed = f", {self.passed or 'all passes'}"
        least = "at least" if self.operator == ">=" else "at most"
        match self.kind:
            case "ratio":
                return f"{who} is {least} {self.threshold:g} × as fast as {self.against}: {case}{threads}{passed}"
            case "winner":
                return f"{who} is {least} {self.threshold:g} × as fast as every other one: {case}{threads}{passed}"
            case "memory":
                what = self.quantity.replace("_", " ")
                return f"{who} takes {least} {self.threshold:g} × the bytes of {self.against} ({what}): {case}"
            case "converges":
                return f"{who} trains like the reference: {self.layer}, {self.dtype or 'all dtypes'},{where}"
            case "correct":
                return f"{who} has right outputs and gradients: {self.layer}, {self.dtype or 'all dtypes'},{where}"
            case "bits":
                return f"{who} gives the same bits in every process: {case}{threads}{passed}"

    def selects(self, dims: str) -> bool:
        """Whether a size is one of the claim's."""
        if not self.dims:
            return True
        found = dims_of(dims)
        terms = selector(self.dims)
        exact = all(op == "=" for _, op, _ in terms)
        if exact and {name for name, _, _ in terms} != set(found):
            return False
        return all(name in found and SELECTORS[op](found[name], bound) for name, op, bound in terms)


FIELDS = {"pass" if f.name == "passed" else f.name: f for f in dataclasses.fields(Claim)}
DECLARED = ("id", "kind", "layer", "strategy", "against", "device", "dtype", "threads", "pass", "dims", "quantity",
            "operator", "threshold", "drafted")  # fmt: skip
"""What a person writes; the rest is computed when the bundle is sealed."""


def selector(dims: str) -> list[tuple[str, str, int]]:
    """``T>=2048,D=64`` as terms.

    Raises:
        ValueError: it is none.
    """
    found = [_TERM.fullmatch(part.strip()) for part in dims.split(",")]
    if not all(found):
        raise ValueError(dims)
    return [(m[1], m[2], int(m[3])) for m in found if m]


def of_fields(found: Any, place: str, known: Sequence[str]) -> Claim:
    """A claim from plain fields.

    Raises:
        ClaimError: see there.
    """
    if not isinstance(found, dict):
        raise ClaimError(f"{place} is not a table of fields")
    place = f"{place} ({terminal(str(found['id'])[:60])})" if "id" in found else place
    for name in found:
        if name not in known:
            raise ClaimError(f"{place}: unknown field {terminal(str(name)[:60])!r}: choose from {', '.join(known)}")
    for name in ("id", "kind", "layer"):
        if name not in found:
            raise ClaimError(f"{place}: {name} is missing")
    for name, value in found.items():
        due = str(FIELDS[name].type)
        if not _fits(value, due):
            raise ClaimError(f"{place}: {name} = {terminal(str(value)[:60])!r} is not {_MEANT.get(due, 'text')}")
    given = {"passed" if k == "pass" else k: v for k, v in found.items()}
    if "operator" not in given:
        given["operator"] = ">=" if given["kind"] in ("ratio", "winner") else "<="
    claim = Claim(**given)
    problem = _problem(claim)
    if problem:
        raise ClaimError(f"{place}: {problem}")
    return claim


_MEANT = {"int": "a whole number", "float": "a number", "float | None": "a number", "bool": "true or false"}


def _fits(value: Any, due: str) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    match due:
        case "int":
            return number and isinstance(value, int)
        case "float":
            return number
        case "float | None":
            return number or value is None
        case "bool":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _problem(c: Claim) -> str | None:
    choices: tuple[tuple[str, str, Sequence[str], bool], ...] = (
        ("kind", c.kind, KINDS, False), ("device", c.device, DEVICES, False), ("dtype", c.dtype, DTYPES, True),
        ("pass", c.passed, KNOWN_PASSES, True), ("quantity", c.quantity, QUANTITIES, False),
        ("operator", c.operator, tuple(OPERATORS), False),
    )  # fmt: skip
    for name, value, known, may_be_empty in choices:
        if value not in known and not (may_be_empty and not value):
            return f"unknown {name} {terminal(value[:60])!r}: choose from {', '.join(known)}"
    if not _ID.fullmatch(c.id):
        return "an id has letters, digits, '_', '.' and '-' only"
    for name in ("layer", "strategy", "against"):
        value = getattr(c, name)
        if not _NAME.fullmatch(value) and (value or name == "layer"):
            return f"{name} {terminal(value[:60])!r} is not a name"
    if c.kind in ("ratio", "winner", "memory") and not c.strategy:
        return f"a {c.kind} claim names a strategy"
    if c.kind in ("ratio", "memory") and (not c.against or c.against == c.strategy):
        return f"a {c.kind} claim names in `against` the strategy that it is compared with"
    if not _WAIVED.fullmatch(c.waived):
        return f"waived {terminal(c.waived[:60])!r} is not of the form 'STRATEGY waived: CHECK'"
    if not 1 <= c.threads <= 4096:
        return "threads must be at least 1"
    if c.threshold < 0 or (c.kind in ("ratio", "winner") and c.threshold == 0):
        return "threshold must be above 0"
    try:
        if c.dims:
            selector(c.dims)
    except ValueError:
        return f"dims {terminal(c.dims[:60])!r}: write sizes such as 'N=4,D=8' or 'T>=2048,D=64'"
    return None


def read_toml(path: Path, schema: int = SCHEMA) -> list[Claim]:
    """Claims as a person writes them: a ``[[claim]]`` table each.

    Args:
        schema: of the run that they are about.

    Raises:
        ClaimError: the file cannot be read, is no TOML, or a claim makes no sense.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ClaimError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"{path} is not TOML: {terminal(str(error)[:200])}") from None
    tables = found.get("claim")
    if not isinstance(tables, list) or not tables or set(found) != {"claim"}:
        raise ClaimError(f"{path}: write each claim as a [[claim]] table and nothing else")
    return _all(tables, f"{path.name}: claim", DECLARED, schema)


def read(folder: Path, schema: int = SCHEMA) -> list[Claim]:
    """The claims of a bundle, whose run is of that schema.

    Raises:
        ClaimError: ``claims.json`` is none.
    """
    found = read_json(folder / FILE)
    if not isinstance(found, dict) or not isinstance(found.get("claims"), list):
        raise ClaimError(f"{FILE} holds no list of claims")
    return _all(found["claims"], f"{FILE}: claim", tuple(FIELDS), schema)


def _all(tables: list[Any], place: str, known: Sequence[str], schema: int) -> list[Claim]:
    if len(tables) > MOST_CLAIMS:
        raise ClaimError(f"refused: more than {MOST_CLAIMS} claims")
    tables = [upgraded_claim(table, schema) for table in tables]
    claims = [of_fields(table, f"{place} {number}", known) for number, table in enumerate(tables, 1)]
    for claim in claims if schema == SCHEMA else ():
        for name in (claim.passed, claim.quantity):
            if name in RENAMED.values():
                raise ClaimError(f"{place}s: {claim.id}: {name} was measured by earlier versions only")
    ids = [claim.id for claim in claims]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise ClaimError(f"{place}s: {twice[0]} is there twice: an id is a claim's own")
    return claims


def as_fields(claim: Claim) -> dict[str, Any]:
    """The inverse of of_fields; nothing is said of waivers where there are none."""
    fields = {name: getattr(claim, field.name) for name, field in FIELDS.items()}
    return {name: value for name, value in fields.items() if name != "waived" or value}


def to_toml(claims: Sequence[Claim]) -> str:
    """Claims as a person would write them."""
    lines = []
    for claim in claims:
        fields = as_fields(claim)
        lines += [f"# {claim.sentence}", "[[claim]]"]
        for name in DECLARED:
            value = fields[name]
            if value == FIELDS[name].default and name not in ("operator", "threshold"):
                continue
            if name == "quantity" and claim.kind != "memory":
                continue
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            lines.append(f"{name} = {shown}")
        lines.append("")
    return "\n".join(lines)
