"""One launch: a fresh process that does the cells of a job and reports each as it ends.

The arguments are the paths of the job (JSON) and of the note, and perhaps that it is held. Finished cells go out as
lines of JSON on a private copy of standard output; whatever strategies print goes to standard error. torch is imported
late, so that a worker whose parent is killed at once dies too.

Cold first calls are each done in a copy of the process, which has imported torch and touched no strategy: the import,
which takes longer than most of them, is waited for once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.run.jobs import CACHES, HELD, Cell, Job, note_bytes

if TYPE_CHECKING:
    from harness.run.process import Process

    Work = Callable[[Process, Cell], Iterator[Any]]


def pin(threads: int) -> None:
    """Keep to as many physical cores as there are threads, the last ones, away from where interrupts tend to land."""
    by_core: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            core = f"{(topology / 'physical_package_id').read_text()} {(topology / 'core_id').read_text()}"
        except OSError:
            core = str(cpu)
        by_core.setdefault(core, cpu)
    os.sched_setaffinity(0, list(by_core.values())[-threads:])


def live_and_die_with_the_parent() -> None:
    """If the parent is killed, be killed; if the kernel must kill something for memory, let it be this process."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def wait_for_its_turn(out: IO[str]) -> None:
    """Of a held worker: what comes before may go on beside others, what comes after goes on alone."""
    print(file=out, flush=True)
    sys.stdin.read()


def main() -> None:
    """Read a job, do it; ends at once, whatever threads a strategy has left running."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    live_and_die_with_the_parent()
    job = Job.from_json(Path(sys.argv[1]).read_text())
    work(job, out, Path(sys.argv[2]))
    out.flush()
    os._exit(0)


def work(job: Job, out: IO[str], note: Path) -> None:
    """Do the cells in order, once the imports are done and its turn has come; the timing cells of a group together."""
    import torch

    from harness.run.measuring import time_group
    from harness.run.process import Process

    if HELD in sys.argv[3:]:
        wait_for_its_turn(out)
    if job.device == "cpu" and any(cell.kind in ("time", "roofs", "proofs") for cell in job.cells):
        pin(job.threads)
    torch.set_num_threads(job.threads)
    process = Process(job, out, note)
    waiting = list(job.cells)
    while waiting:
        cell = waiting.pop(0)
        if cell.kind == "time":
            same = [cell, *(c for c in waiting if c.kind == "time" and c.group == cell.group)]
            waiting = [c for c in waiting if c not in same]
            time_group(process, same)
            continue
        if cell.kind == "first_call":
            _do_in_a_copy(process, cell)
        else:
            _do(process, cell)


def _do(process: Process, cell: Cell) -> None:
    started = time.perf_counter()
    records = list(_work_of(cell.kind)(process, cell))
    process.close(cell, records, time.perf_counter() - started)


def _do_in_a_copy(process: Process, cell: Cell) -> None:
    """Do a cell in a fork of this process, with empty compile caches; end as the fork ends, unless it has reported."""
    reported = note_bytes(str(cell.group), cell.strategies[0], "reported")
    copy = os.fork()
    if not copy:
        live_and_die_with_the_parent()
        for name in CACHES:
            os.environ[name] = tempfile.mkdtemp(dir=os.environ[name])
        _do(process, cell)
        process.write_note(reported)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)
    if code or not process.noted(reported):  # a strategy may leave with any code
        os._exit(code)


def _work_of(kind: str) -> Work:
    """What does the cells of a kind, one by one; what measures does without the gate, whose import takes a while."""
    from harness.run.unpaired import first_call, measure_memory, measure_roofs

    measures: dict[str, Work] = {"roofs": measure_roofs, "memory": measure_memory, "first_call": first_call}
    if kind in measures:
        return measures[kind]
    from harness.run.candidates import compile_candidates, try_candidates
    from harness.run.compiling import compile_kernels
    from harness.run.controls import check_controls
    from harness.run.describe import describe
    from harness.run.gate import gate
    from harness.run.proofs import prove

    others: dict[str, Work] = {
        "describe": describe,
        "gate": gate,
        "controls": check_controls,
        "proofs": prove,
        "compile": compile_kernels,
        "tune": try_candidates,
        "try": compile_candidates,
    }
    return others[kind]


if __name__ == "__main__":
    main()
