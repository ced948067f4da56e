"""The meter's bytes against an independent count: ``python -m tests.measure.counted [LAYER ...]``.

A library that is preloaded (allocator.c) counts what torch's allocator asks of the system, in a process of its own. Each
layer is measured at eight sizes and more, by every strategy that runs on a CPU, compiled ones too; nothing may be off by
a byte. Prints the cases, and each that differs.
"""

import ctypes
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("allocator.c")
FIGURES = ("saved", "forward_peak", "backward_peak", "step_peak", "left")
MATRICES = [(1, 1), (7, 13), (13, 7), (16, 16), (33, 65), (64, 32), (129, 65), (100, 1000), (512, 256)]
BATCHES = [(1, 1, 1), (7, 13, 5), (16, 16, 16), (64, 32, 16), (33, 65, 129), (128, 1, 64), (1, 128, 3), (256, 128, 96)]
SIZES: dict[str, list[dict[str, int]]] = {
    "weighted_sum": [{"N": n, "D": d} for n, d in MATRICES],
    "rms_norm": [{"N": n, "D": d} for n, d in MATRICES],
    "affine": [{"B": b, "I": i, "O": o, "gelu": g} for (b, i, o), g in itertools.product(BATCHES, (0, 1))],
    "swiglu": [{"B": b, "I": i, "H": 2 * o + 1, "O": o} for b, i, o in BATCHES],
    "decay_attention": [
        {"B": b, "H": h, "T": t, "D": d}
        for b, h, t, d in ((1, 1, 1, 1), (2, 2, 7, 5), (1, 3, 16, 16), (2, 1, 33, 8), (1, 2, 129, 33), (2, 2, 64, 64),
                           (1, 1, 200, 7), (3, 2, 100, 16))
    ],
}  # fmt: skip


def compared(layer: str, sizes: Sequence[dict[str, int]], strategies: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Measure a layer in a process in which the allocator is counted from outside.

    Args:
        strategies: all that run on a CPU without the interpreter, if empty.

    Returns:
        A row for each case: strategy, dims, and by figure the bytes of the meter and those counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "allocator.so")
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
        job = json.dumps([str(library), layer, list(sizes), list(strategies)])
        command = [sys.executable, "-m", "tests.measure.counted", "--here", job]
        alone = {"OMP_NUM_THREADS": "1", "LD_PRELOAD": str(library)}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | alone, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _here(library: str, layer_name: str, sizes: Sequence[dict[str, int]], wanted: Sequence[str]) -> Iterator[Any]:
    import torch

    from harness.layers.discover import load, scan
    from harness.layers.drawing import draw
    from harness.measure import memory
    from harness.measure.passes import Call, ready

    count = ctypes.CDLL(library)
    count.counted_held.restype = count.counted_highest.restype = ctypes.c_size_t
    torch.set_num_threads(1)
    entries = {e.strategy: e for e in scan(["implementations"]) if e.layer == layer_name}
    layer = load(entries.pop(None)).value

    def counted(calls: dict[str, Call]) -> dict[str, int]:
        backward, step = calls["backward"], calls["step"]
        gc.collect()
        base = count.counted_held()
        count.counted_highest()
        made = backward.prepare()
        forward = count.counted_highest() - base
        saved = count.counted_held() - base - made[0].untyped_storage().nbytes()
        gradients = backward.run(made)
        peak = count.counted_highest() - base
        del made, gradients
        left = count.counted_held() - base
        count.counted_highest()
        step.run(step.prepare())
        return dict(zip(FIGURES, (saved, forward, peak, count.counted_highest() - base, left), strict=True))

    for name, entry in entries.items():
        strategy = load(entry).value
        if "cpu" not in strategy.devices or (wanted and name not in wanted):
            continue
        for dims in sizes:
            torch.compiler.reset()
            calls = ready(layer, strategy, dims, draw(layer, dims, torch.float32, "cpu", 0)).calls
            found = memory.measure(calls, "cpu")
            truth = counted(calls)
            yield {"strategy": name, "dims": dims} | {f: [getattr(found, f), truth[f]] for f in FIGURES}


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 where a figure differs."""
    if arguments and arguments[0] == "--here":
        print(json.dumps(list(_here(*json.loads(arguments[1])))))
        return 0
    off = 0
    for layer in arguments or SIZES:
        rows = compared(layer, SIZES[layer])
        wrong = [row for row in rows if any(ours != theirs for ours, theirs in (row[f] for f in FIGURES))]
        names = ", ".join(dict.fromkeys(row["strategy"] for row in rows))
        print(f"{layer}: {len(rows)} cases of {len(SIZES[layer])} sizes ({names}): {len(wrong)} off", flush=True)
        for row in wrong:
            print(f"  {row}")
        off += len(wrong)
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
