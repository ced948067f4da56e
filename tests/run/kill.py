"""``python -m tests.run.kill --kills 200``: kill -9 at random moments, then ``--resume``, over and over.

After each kill the records must be readable and keep every cell that was closed before; when a run ends, every cell of
its plan is there exactly once. Prints the counts.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.records.store import FILE, read

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "packages" / "hostile"
LAUNCHES = 6


def command(out: Path) -> list[str]:
    """The run, or its continuation."""
    asked = ["--device", "cpu", "--layer", "scale", "--strategy", "module", "--from", str(SOURCE), "--out", str(out)]
    how = ["--resume"] if (out / FILE).exists() else ["--launches", str(LAUNCHES)]
    return [sys.executable, "-m", "harness", "bench", "--profile", "quick", *asked, *how]


def main() -> int:
    """Exit code 1 where a record was lost, or a cell was run twice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    kills = runs = lost = twice = unreadable = 0
    with tempfile.TemporaryDirectory() as scratch:
        while kills < given.kills:
            out = Path(scratch) / f"run{runs}"
            closed: set[str] = set()
            code = None
            while code is None:
                process = subprocess.Popen(
                    command(out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
                try:
                    _, errors = process.communicate(timeout=rng.uniform(0.5, 15.0) if kills < given.kills else 600)
                    code = process.returncode
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills += 1
                if (out / FILE).exists() and "run" in (out / FILE).read_text()[:200]:
                    try:
                        now = [r["cell"] for r in read(out).of("cell")]
                    except Exception as error:  # noqa: BLE001 - counted, and said
                        unreadable += 1
                        print(f"unreadable after {kills} kills: {error}", flush=True)
                        continue
                    lost += len(closed - set(now))
                    twice += len(now) - len(set(now))
                    closed = set(now)
            runs += 1
            samples = len(read(out).of("samples"))
            complete = code == 0 and samples == LAUNCHES * 2 * 3
            print(f"{runs} runs, {kills} kills: exit {code}, {samples} series of samples", flush=True)
            if not complete:
                print(errors[-500:])
                lost += 1
    print(f"{kills} kills in {runs} runs: {lost} lost, {twice} twice, {unreadable} unreadable")
    return int(bool(lost or twice or unreadable))


if __name__ == "__main__":
    sys.exit(main())
