"""The least time of a case: what it cannot do without, at the rates that the machine was seen to reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.records.store import Record


def floors(roofs: Sequence[Record], work: Record) -> tuple[float, float] | None:
    """Seconds by memory and by compute: bytes ÷ copy rate at the nearest footprint, operations ÷ product rate.

    None where the rates of its device, threads and dtype were not measured.
    """
    here = [r for r in roofs if (r["device"], r["threads"]) == (work["device"], work["threads"])]
    copies = [r for r in here if r["what"] == "copy"]
    products = [r["per_second"] for r in here if r["what"] == "product" and r["dtype"] == work["dtype"]]
    if not copies or not products:
        return None
    near = min(copies, key=lambda r: abs(math.log(r["footprint"] / max(1, work["bytes"]))))
    return work["bytes"] / near["per_second"], work["flops"] / max(products)
