"""``python -m tests.run.kill --kills 200``: kill -9 at random moments, then ``--resume``, over and over.

After each kill the records must be readable and keep every cell that was closed before; when a run ends, every cell of
its plan is there exactly once. Prints the counts.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.records.store import FILE, StoreError, read

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "packages" / "hostile"
LAUNCHES = 6


def command(out: Path) -> list[str]:
    """The run, or its continuation."""
    asked = ["--device", "cpu", "--layer", "scale", "--strategy", "module", "--from", str(SOURCE), "--out", str(out)]
    how = ["--resume"] if (out / FILE).exists() else ["--launches", str(LAUNCHES)]
    return [sys.executable, "-m", "harness", "bench", "--profile", "quick", *asked, *how]


def stopped(out: Path, wait_for: int, delay: float) -> int | None:
    """Start the run or go on with it, and kill it a while after it has closed so many cells more.

    Returns:
        Its exit code where it ended before, else None.
    """
    process = subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before, end = closed(out), 0.0
    while process.poll() is None:
        if not end and len(closed(out)) >= len(before) + wait_for:
            end = time.monotonic() + delay
        if end and time.monotonic() >= end:
            process.kill()
            process.wait()
            return None
        time.sleep(0.02)
    return process.returncode


def closed(out: Path) -> list[str]:
    """Names of the cells that are done, by the records; none where not even the header is."""
    if not (out / FILE).exists():
        return []
    try:
        return [r["cell"] for r in read(out).of("cell")]
    except StoreError as error:
        if "holds no run record" not in str(error):
            raise
        return []


def main() -> int:
    """Exit code 1 where a record was lost, or a cell was run twice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    kills = runs = lost = twice = incomplete = 0
    with tempfile.TemporaryDirectory() as scratch:
        while kills < given.kills:
            out = Path(scratch) / f"run{runs}"
            before: set[str] = set()
            code = None
            while code is None:
                last = kills >= given.kills
                code = stopped(out, 10**6 if last else rng.randint(0, 4), rng.uniform(0.0, 4.0))
                kills += code is None
                now = closed(out)
                lost += len(before - set(now))
                twice += len(now) - len(set(now))
                before = set(now)
            runs += 1
            samples = len(read(out).of("samples"))
            incomplete += code != 0 or samples != LAUNCHES * 2 * 3
            print(f"{kills} kills, {runs} runs: exit {code}, {len(before)} cells, {samples} series", flush=True)
    print(f"{kills} kills in {runs} runs: {lost} cells lost, {twice} run twice, {incomplete} runs incomplete")
    return int(bool(lost or twice or incomplete))


if __name__ == "__main__":
    sys.exit(main())
