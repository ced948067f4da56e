"""Candidates are checked, then timed beside the current configuration; the clock is made up, so no GPU is needed."""

import io
import math
from pathlib import Path
from statistics import median

import pytest

from harness import Tuning
from harness.layers.launches import read_table
from harness.measure.passes import Call
from harness.records.kernels import Candidate
from harness.records.schema import Group, as_record
from harness.run.candidates import compile_candidates, tried
from harness.run.jobs import NOTE_BYTES, PARTS, Cell, Job
from harness.run.measuring import Bench
from harness.run.process import Process
from tests.conftest import PACKAGES

TABLE = """target, dtype, up_to, BLOCK, evidence
any   , any  , 8    , 2    , not yet measured
any   , any  , any  , 1    , not yet measured
"""
SOURCE = '''"""A sine in blocks; a block of 3 leaves out the rest, one of 5 does not run, one of 7 is wrong backward."""

import torch

from harness import Strategy, Tuning, launch_table

TABLE = launch_table(__file__, "sine_kernel")
LAUNCHED = []


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, block):
        if block == 5:
            raise RuntimeError("out of resource: shared memory")
        rows = len(x) // block * block if block == 3 else len(x)
        return torch.cat([torch.sin(x[:rows]), x[rows:]]) * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.block = inputs[2]

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        of_weight = (g * torch.sin(x)).sum(0)
        return g * torch.cos(x) * weight, of_weight * (1.01 if ctx.block == 7 else 1), None


def forward(x, weight):
    LAUNCHED.append(TABLE.find("any", x.dtype, x.shape[1])["BLOCK"])
    return Sine.apply(x, weight, LAUNCHED[-1])


def candidates(size, dtype):
    return [{"BLOCK": block} for block in range(1, 13)]


strategy = Strategy(forward, tunings=(Tuning(TABLE, "backward", lambda dims: dims["D"], candidates),))
'''


class MadeUp:
    """A clock by which a call takes as long as the block that it really launches with is away from 6."""

    def __init__(self, launched: list[int]) -> None:
        self.launched = launched

    def spans(self, call: Call, n: int) -> list[float]:
        """See ``Clock``."""
        for _ in range(n):
            call.write(1)
            call.done((call.run(call.prepare()),))
        return [n * 1e6 * (1 + abs(self.launched[-1] - 6))]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    wave = tmp_path / "wave"
    (wave / "launches").mkdir(parents=True)
    for name in ("__init__", "autograd"):
        (wave / f"{name}.py").write_text((PACKAGES / "tricky" / "wave" / f"{name}.py").read_text())
    (wave / "blocks.py").write_text(SOURCE)
    (wave / "launches" / "sine_kernel.csv").write_text(TABLE)
    note = tmp_path / "note"
    note.write_bytes(bytes(NOTE_BYTES))
    process = Process(Job((), (str(tmp_path),), "cpu", 1, 0, 0.01), io.StringIO(), note)
    return Bench(process, Group("wave", "N=10,D=8", "float32", "cpu", 1))


def _tried(bench: Bench) -> dict[int, Candidate]:
    strategy = bench.process.strategy("wave", "blocks")
    clock = MadeUp(strategy.forward.__globals__["LAUNCHED"])
    found = list(tried(bench, "blocks", strategy.tunings[0], clock))
    assert len({c.config["BLOCK"] for c in found}) == len(found)
    return {c.config["BLOCK"]: c for c in found}


def test_each_candidate_has_a_record_and_what_is_wrong_or_does_not_run_is_not_timed(bench: Bench) -> None:
    found = _tried(bench)
    assert set(found) == set(range(1, 13))
    assert {b: c.result for b, c in found.items() if c.result != "ok"} == {3: "wrong", 5: "failed", 7: "wrong"}
    assert "output" in found[3].detail
    assert "gradient of weight" in found[7].detail
    assert "out of resource" in found[5].detail
    for block in (3, 5, 7):
        assert not found[block].log_ratios
        assert found[block].seconds is None


def test_times_are_held_against_the_current_configuration_round_by_round(bench: Bench) -> None:
    found = _tried(bench)
    assert [b for b, c in found.items() if c.current] == [2]
    assert set(found[2].log_ratios) == {0.0}
    for block, c in found.items():
        if c.result == "ok":
            assert len(c.log_ratios) >= 7
            assert median(c.log_ratios) == pytest.approx(math.log((1 + abs(block - 6)) / 5))
    best = min((c for c in found.values() if c.result == "ok"), key=lambda c: median(c.log_ratios))
    assert best.config == {"BLOCK": 6}
    record = as_record(best)
    assert (record["kind"], record["row"], record["target"]) == ("candidate", ("any", "any", "8"), "interpreter")
    assert (record["layer"], record["kernel"], record["dims"]) == ("wave", "sine_kernel", "N=10,D=8")


def test_parts_of_the_candidates_are_compiled_apart_and_each_is_run_once_but_the_current_one(bench: Bench) -> None:
    launched = bench.process.strategy("wave", "blocks").forward.__globals__["LAUNCHED"]
    for part in range(PARTS):
        cell = Cell("try", ("blocks",), bench.group, "sine_kernel", part)
        assert list(compile_candidates(bench.process, cell)) == []
    assert sorted(launched) == [1, *range(3, 13)]


@pytest.mark.parametrize(("size", "others"), [(None, [{"BLOCK": 1}]), (8, [])])
def test_a_kernel_that_is_not_launched_at_a_size_or_has_no_candidates_has_no_record(
    bench: Bench, size: int | None, others: list[dict[str, int]]
) -> None:
    table = bench.process.strategy("wave", "blocks").tunings[0].table
    tuning = Tuning(table, "backward", lambda dims: size, lambda size, dtype: others)
    assert list(tried(bench, "blocks", tuning, MadeUp([6]))) == []


def test_a_kernel_that_is_not_launched_on_a_device_has_no_record(bench: Bench) -> None:
    strategy = bench.process.strategy("wave", "blocks")
    other = read_table(strategy.tunings[0].table.path)  # of a kernel that this strategy launches on other devices
    tuning = Tuning(other, "backward", lambda dims: dims["D"], lambda size, dtype: [{"BLOCK": 4}])
    assert list(tried(bench, "blocks", tuning, MadeUp([6]))) == []


def test_nothing_is_timed_where_the_current_configuration_is_wrong_itself(bench: Bench) -> None:
    table = bench.process.strategy("wave", "blocks").tunings[0].table
    table.rows[0].config["BLOCK"] = 3  # type: ignore[index]
    assert {b: c.result for b, c in _tried(bench).items()} == {3: "wrong"}
