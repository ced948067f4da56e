"""One launch: a fresh process that does the cells of a job and reports each as it ends.

The job comes as a line of JSON on standard input, the path of the note as the argument. Finished cells go out as lines
of JSON on a private copy of standard output; whatever strategies print goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from harness.run.describe import describe
from harness.run.gate import gate
from harness.run.jobs import Cell, Job
from harness.run.measuring import first_call, measure_memory, time_group
from harness.run.process import Process

ONE_BY_ONE: dict[str, Callable[[Process, Cell], Iterator[Any]]] = {
    "describe": describe,
    "gate": gate,
    "memory": measure_memory,
    "first_call": first_call,
}


def pin(threads: int) -> None:
    """Keep to as many cores as there are threads, the last ones, away from where interrupts tend to land."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def live_and_die_with_the_parent() -> None:
    """If the parent is killed, be killed; if the kernel must kill something for memory, let it be this process."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    """Read a job, do it."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    live_and_die_with_the_parent()
    job = Job.from_json(sys.stdin.readline())
    torch.set_num_threads(job.threads)
    if job.device == "cpu" and any(cell.kind == "time" for cell in job.cells):
        pin(job.threads)
    process = Process(job, out, Path(sys.argv[1]))
    waiting = list(job.cells)
    while waiting:
        cell = waiting.pop(0)
        if cell.kind == "time":
            same = [cell, *(c for c in waiting if c.kind == "time" and c.group == cell.group)]
            waiting = [c for c in waiting if c not in same]
            time_group(process, same)
            continue
        started = time.perf_counter()
        records = list(ONE_BY_ONE[cell.kind](process, cell))
        process.close(cell, records, time.perf_counter() - started)


if __name__ == "__main__":
    main()
