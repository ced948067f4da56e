"""``python -m tests.run.repeated --runs 10 --layer affine``: the same cases in several runs of the whole tool.

Each run is a command line of its own, with its own gate, launches and tie bands. Counts the pairs of runs whose ratios
are farther apart than the wider of their two tie bands, and says where page faults were flagged.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import pandas as pd

from harness.analyse.frames import timing
from harness.records.store import read

ROOT = Path(__file__).resolve().parents[2]
CASE = ["layer", "dims", "pass", "strategy"]


def apart(found: pd.DataFrame) -> pd.DataFrame:
    """By case: the runs, their least and largest ratio, the widest tie band, and the pairs that lie outside."""
    rows = []
    for case, runs in found.groupby(CASE):
        logs, bands = [math.log(r) for r in runs["ratio"]], list(runs["margin"])
        pairs = list(combinations(zip(logs, bands, strict=True), 2))
        outside = sum(abs(a - b) > math.log1p(max(x, y)) for (a, x), (b, y) in pairs)
        flags = ", ".join(sorted({f for each in runs["flags"] for f in each.split(", ") if f}))
        rows.append([*case, len(runs), min(runs["ratio"]), max(runs["ratio"]), max(bands), outside, len(pairs), flags])
    columns = [*CASE, "runs", "least ratio", "largest ratio", "widest band", "pairs outside", "pairs", "flags"]
    return pd.DataFrame(rows, columns=columns)


def main() -> int:
    """Exit code 1 where a pair of runs lies farther apart than its bands."""
    parser = argparse.ArgumentParser(prog="python -m tests.run.repeated")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--layer", default="affine")
    parser.add_argument("--strategy", action="append", default=[])
    parser.add_argument("--out", type=Path, help="write the table here, as CSV")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(given.runs):
            out = Path(scratch) / f"run{number}"
            asked = ["--layer", given.layer, *(x for s in given.strategy or ["library"] for x in ("--strategy", s))]
            command = [sys.executable, "-m", "harness", "bench", "--profile", "quick", *asked, "--out", str(out)]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            table = timing(read(out))
            compared = table[table["verdict"].isin(("faster", "slower", "tie", "inconclusive"))]
            found.append(compared.assign(run=number))
            shown = ", ".join(
                f"{r.strategy} {r['pass']} {r.ratio:.3f} ± {r.margin:.1%}" for _, r in compared.iterrows()
            )
            print(f"run {number + 1}: {shown}", flush=True)
    table = apart(pd.concat(found))
    print(table.to_markdown(index=False, floatfmt=".4g"))
    if given.out:
        table.to_csv(given.out, index=False)
    return int(table["pairs outside"].sum() > 0)


if __name__ == "__main__":
    sys.exit(main())
