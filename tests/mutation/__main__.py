"""``python -m tests.mutation [--layer L] [--strategy S] [--list] [--out FILE]``; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.targets import files, modules
from tests.mutation.trial import Fate
from tests.mutation.verdicts import Verdict, excerpt, listed, proofs, report, share, table

ROOT = Path(__file__).resolve().parents[2]
GOAL = 0.95


def fates(path: Path, chosen: Sequence[Mutant], workers: int, seed: int = 0, rehearse: bool = True) -> Iterator[Fate]:
    """Run mutants of a file; a fate's number is the mutant's place in ``chosen``."""
    layer, strategy = path.parent.name, path.stem
    interpret = {"TRITON_INTERPRET": "1"} if "triton" in path.read_text() else {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "mutants" / layer
        home.mkdir(parents=True)
        for beside in (*path.parent.glob("launches"), *path.parent.glob("_[!_]*.py")):
            (home / beside.name).symlink_to(beside)
        original = path.read_text()
        (home / "original.py").write_text(original)
        for number, mutant in enumerate(chosen):
            module = Path(mutant.file).stem
            if module != strategy:
                (home / f"_mutant{number}.py").write_text(mutant.source)
                source = original.replace(f"from .{module} import", f"from ._mutant{number} import")
            else:
                source = mutant.source
            (home / f"mutant{number}.py").write_text(source)
        arguments = [layer, strategy, str(home.parent), str(seed), str(workers), "yes" if rehearse else "no"]
        command = [sys.executable, "-m", "tests.mutation.trial", *arguments]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **interpret}
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield Fate(**json.loads(line))
        if process.returncode:
            raise SystemExit(f"{layer}/{strategy}: the run of its mutants ended with {process.returncode}")


def run(path: Path, chosen: Sequence[Mutant], workers: int, proven_too: bool) -> list[Verdict]:
    """All mutants of a file, with progress; those that are proven to be equivalent only where that is asked."""
    known = proofs()
    name = f"{path.parent.name}/{path.name}"
    tried = [m for m in chosen if proven_too or m.key not in known]
    found = [Verdict(m, Fate(-1, "survived"), known[m.key]) for m in chosen if m not in tried]
    began = time.monotonic()
    for done, fate in enumerate(fates(path, tried, workers), start=1):
        mutant = tried[fate.number]
        found.append(Verdict(mutant, fate, known.get(mutant.key, "")))
        if found[-1].word == "survived":
            print(
                f"{mutant.file}:{mutant.line} survived: {' → '.join(excerpt(mutant.original, mutant.mutated))}",
                flush=True,
            )
        if done % 25 == 0 or done == len(tried):
            print(f"{name}: {done}/{len(tried)} mutants, {time.monotonic() - began:.0f} s", flush=True)
    places = {m.key: place for place, m in enumerate(chosen)}
    return sorted(found, key=lambda v: places[v.mutant.key])


def main() -> int:
    """Exit code 1 where a file falls short of the goal."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Mutate every hand-written gradient.")
    parser.add_argument("--layer", help="this layer only")
    parser.add_argument("--strategy", help="this strategy only")
    parser.add_argument("--function", default="", help="functions whose name contains this, only")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth mutant only")
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--proven", action="store_true", help="run those with a proof too: does the gate refute one?")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--out", type=Path, help="write the report here, as Markdown; a .json beside it has every fate")
    given = parser.parse_args()
    paths = files(given.layer, given.strategy)
    if not paths:
        parser.error("no such strategy with a backward written by hand")
    chosen = {
        p: [m for file in (p, *modules(p)) for m in mutants(file) if given.function in m.function][:: given.every]
        for p in paths
    }
    if given.list:
        for mutant in (m for each in chosen.values() for m in each):
            before, after = excerpt(mutant.original, mutant.mutated)
            print(f"{mutant.file}:{mutant.line} {mutant.function} ({mutant.what}): {before} → {after}")
        return 0
    began = time.monotonic()
    verdicts = [v for p, each in chosen.items() for v in run(p, each, given.workers, given.proven)]
    print("\n".join(["", *table(verdicts), "", *listed(verdicts, "survived")]))
    known = proofs()
    refuted = [v.mutant for v in verdicts if v.mutant.key in known and v.word != "equivalent"]
    for mutant in refuted:
        print(f"a proof is refuted: {mutant.file}:{mutant.line} {mutant.original} → {mutant.mutated}")
    if given.out:
        given.out.write_text(report(verdicts, time.monotonic() - began, refuted))
        rows = [{**vars(v.fate), "word": v.word, "key": v.mutant.key, "what": v.mutant.what} for v in verdicts]
        given.out.with_suffix(".json").write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    return 0 if share(verdicts) >= GOAL and not refuted else 1


if __name__ == "__main__":
    sys.exit(main())
