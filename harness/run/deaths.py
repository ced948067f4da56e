"""Meanings of the end of a strategy's process in a check: proof of the fault that the check looks for, or a crash."""

from __future__ import annotations

import signal

from harness.run.jobs import DEVICE_LOST
from harness.run.remote import SubjectDiedError

STRAYED = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, DEVICE_LOST)
"""Exit codes of a process that has touched memory which is not its own."""
WRAPS = "an offset of an element wraps in 32 bits: compute it in 64 (in Triton row.to(tl.int64) * stride)"
PROOFS = {
    "far_apart": f"where rows of the inputs lie far apart: {WRAPS}",
    "many_elements": f"where a tensor has more than 2³¹ elements: {WRAPS}",
    "guarded": "where every buffer lies between guards: it reads or writes beyond the end of one, as with no mask for"
    " the tail",
}
"""By the check: where the process ended, and the cause to look for. Nothing else of these checks ends a process."""
ASKED = {
    "layouts": "inputs and parameters with other strides: are they taken to be dense?",
    "cotangents": "cotangents with other strides: is one taken to be dense?",
    "magnitudes": "inputs that are zero, or 2¹⁰ times as large",
    "frozen": "operands that need no gradient",
    "steady_memory": "many steps in a row: does it free what it uses?",
    "settled": "whether work is left when a call returns: a thread or stream that outlives its tensors?",
    "empty": "no rows at all: is a grid of nothing launched?",
    "leading_dims": "several leading dims",
    "shapes": "sizes that no block divides, and many blocks",
    "long": "very many rows",
    "data_parallel": "two processes that train together",
}
"""By the check: what was asked of it, and what to look for."""


def proof(error: SubjectDiedError, check: str) -> str:
    """The fault, where the end of the process in a check is itself the proof of it; else empty."""
    return f"{error} {PROOFS[check]}" if check in PROOFS and error.code in STRAYED else ""


def crash(error: SubjectDiedError, check: str, text: str) -> str:
    """One line about any other end.

    Args:
        check: the name of the check, empty where none was under way; ``text`` is what was being done.
    """
    return f"{error} in: {text}" + (f" (asked for: {ASKED[check]})" if check in ASKED else "")
