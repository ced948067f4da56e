"""A worker that does nothing in particular, without torch: what moves jobs about is tested with it.

It notes and closes each cell as the real one does, after a tenth of ``job.seconds``. A strategy ``aborts`` ends its process, one
named ``fells`` the process that has started it, as the loss of a machine does. KIND names the kind of machine.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.records.environment import collect
from harness.records.schema import LayerFacts, StrategyFacts, Work, as_record
from harness.run.jobs import HELD, NOTE_BYTES, Cell, Job, note_bytes
from harness.run.worker import wait_for_its_turn

KIND = "LAYERBENCH_STUB_KIND"
SIZES = {"cpu": {profile: ["N=1", "N=2", "N=3"] for profile in ("quick", "default")}}


def main() -> None:
    """As the worker's."""
    job, note = Job.from_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    if HELD in sys.argv[3:]:
        wait_for_its_turn(sys.stdout)
    for cell in job.cells:
        for strategy in cell.strategies:
            note.write_bytes(note_bytes(str(cell.group), strategy, cell.kind).ljust(NOTE_BYTES, b"\0"))
            if strategy == "fells":
                time.sleep(1.0)  # until the note has been heard
                os.kill(os.getppid(), signal.SIGKILL)
            if strategy == "aborts":
                os.abort()
        if not cell.strategies:
            note.write_bytes(note_bytes(str(cell.group), "", cell.kind))
        time.sleep(job.seconds / 10)
        print(json.dumps({"cell": cell.name, "seconds": job.seconds, "records": list(_records(cell))}), flush=True)


def _records(cell: Cell) -> Iterator[dict[str, Any]]:
    if cell.kind == "time":
        yield as_record(Work(cell.group, cell.passed, 1, 1))
    if cell.kind == "describe":
        kind = os.environ.get(KIND, "A CPU")
        yield {**collect(), "cpu": kind, "physical_cores": 1, "affinity": [0], "gpu": None, "torch": "2.13"}
        yield as_record(LayerFacts("stub", "digest", "stub", "y", "plain", SIZES))
        for name in ("plain", "other"):
            yield as_record(
                StrategyFacts("stub", name, "", f"{name}.py", "digest", devices=("cpu",), dtypes=("float32",))
            )


if __name__ == "__main__":
    main()
