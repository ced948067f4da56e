"""What the device makes of it: each case's share of the roof, and on CUDA its time in the three regimes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.analyse.floors import floors
from harness.analyse.frames import DISPATCH_BOUND, timing
from harness.analyse.launches import CASE, GROUP
from harness.records.store import Run


def roofs(run: Run, wall: pd.DataFrame) -> pd.DataFrame:
    """One row for each measured case whose work is known; ``wall`` is ``timing(run)``.

    Columns: the case; ``latency`` (seconds); ``flops`` and ``bytes`` that no implementation can do without;
    ``floor`` (seconds: the longer of bytes ÷ copy rate at that footprint and operations ÷ product rate); ``bound``
    (``memory`` or ``compute``); ``share`` (floor ÷ latency). On CUDA the latency is the device's, with a cold cache.
    """
    work = {tuple(r[k] for k in [*GROUP, "pass"]): r for r in run.of("work")}
    frame, on_device = wall.copy(), wall["device"] == "cuda"
    if on_device.any():
        frame.loc[on_device, "latency"] = timing(run, "device_cold").loc[on_device, "latency"]
    rows = []
    for row in frame[frame["latency"].notna()].to_dict("records"):
        key = tuple(row[k] for k in [*GROUP, "pass"])
        if key not in work:
            continue
        found = floors(run.of("roof"), work[key])
        if found is None:
            continue
        by_memory, by_compute = found
        floor = max(by_memory, by_compute)
        bound = "memory" if by_memory >= by_compute else "compute"
        flops, size = work[key]["flops"], work[key]["bytes"]
        rows.append([*(row[k] for k in CASE), row["latency"], flops, size, floor, bound, floor / row["latency"]])
    return pd.DataFrame(rows, columns=[*CASE, "latency", "flops", "bytes", "floor", "bound", "share"])


def regimes(run: Run, wall: pd.DataFrame) -> pd.DataFrame:
    """One row for each CUDA case: seconds a call by ``wall``, ``device_cold`` and ``device_hot``.

    ``dispatch_bound`` where Python and the launches take more than a fifth of the device's own time besides;
    ``wall`` is ``timing(run)``.
    """
    found = wall.loc[wall["device"] == "cuda", [*CASE, "latency"]].rename(columns={"latency": "wall"})
    for regime in ("device_cold", "device_hot"):
        found[regime] = timing(run, regime)["latency"] if len(found) else []
    found = found[found["wall"].notna()]
    return found.assign(dispatch_bound=np.asarray(found["wall"] > DISPATCH_BOUND * found["device_hot"]))
