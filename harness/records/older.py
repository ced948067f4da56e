"""Records of earlier schemas, read as those of today: every change of the format stands here and nowhere else.

* Schema 1 had one word, ``unsupported``, for a check whose answer was a clean error; today that is ``limited``.
* Schema 1 had a ``step`` with the task's loss in it and without the gradients of the inputs; today that is
  ``step_with_loss``, a pass that can be read and not timed, and its memory ``step_with_loss_peak``.
* Schema 1 had no definitions of passes in a run's header.
"""

from __future__ import annotations

import re
from typing import Any

from harness.records.modes import MODES, OLDER_MODES

Record = dict[str, Any]

RENAMED = {"step": "step_with_loss", "step_peak": "step_with_loss_peak"}
"""Passes and quantities of schema 1, and their names today."""
FIELDS: dict[str, dict[str, type]] = {"memory": {"step_with_loss_peak": int}}
"""Fields of today's kinds that only earlier records have."""
_CELL = re.compile(r" step(?= launch \d+$)", re.ASCII)


def upgraded(record: Record, schema: int) -> Record:
    """A record as it would be written today.

    Args:
        schema: that of the run which it comes from.
    """
    if schema >= 2:
        return record
    record = {_today(name): value for name, value in record.items()}
    if record["kind"] in ("check", "training") and record.get("result") == "unsupported":
        record["result"] = "limited"
    if "pass" in record:
        record["pass"] = _today(record["pass"])
    if isinstance(record.get("cell"), str):
        record["cell"] = _CELL.sub(f" {RENAMED['step']}", record["cell"])
    return _header(record) if record["kind"] == "run" else record


def upgraded_claim(claim: Any, schema: int) -> Any:
    """The fields of a claim about a run of that schema, as they would be written today."""
    if schema >= 2 or not isinstance(claim, dict):
        return claim
    return {name: _today(value) if name in ("pass", "quantity") else value for name, value in claim.items()}


def _header(header: Record) -> Record:
    """With the passes of the run, of its groups and of what was wanted by their names today, and their definitions."""
    header = _passes(header)
    if isinstance(header.get("groups"), list):
        header["groups"] = [_passes(group) for group in header["groups"]]
    if "wanted" in header:
        header["wanted"] = _passes(header["wanted"])
    every = MODES | OLDER_MODES
    return {**header, "modes": {name: words for name, words in every.items() if name not in RENAMED}}


def _passes(fields: Any) -> Any:
    if not isinstance(fields, dict) or not isinstance(fields.get("passes"), list):
        return fields
    return {**fields, "passes": [_today(name) for name in fields["passes"]]}


def _today(name: Any) -> Any:
    return RENAMED.get(name, name) if isinstance(name, str) else name
