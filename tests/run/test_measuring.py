"""What was timed is judged: each pass by its own answers, on other values in the very tensors that were timed."""

import dataclasses
import io
import json
from pathlib import Path

import pytest

from harness.measure.sampler import WARM_UP_SECONDS
from harness.records.schema import Group
from harness.run.jobs import NOTE_BYTES, Cell, Job
from harness.run.measuring import UNCOUNTED, WHOLE, Bench, measure_memory, time_group
from harness.run.process import Process
from tests.conftest import PACKAGES

WRONG = {
    "alone": "        return y * (1.001 if len(x) == 1 else 1.0)",
    "crowded": "        return y * (1.001 if len(x) > 1 else 1.0)",
    "scaled": "        return y + 1e-3 * weight.detach().abs()",
    "right": "        return y",
}
SOURCE = '''"""Right, or wrong in one way."""

import torch

from harness import Strategy


class Wave(torch.nn.Module):
    def __init__(self, N, D):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(D))

    def forward(self, x):
        y, weight = torch.sin(x) * self.weight, self.weight
{}


strategy = Strategy(Wave, gradients="{}")
'''


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    wave = tmp_path / "wave"
    wave.mkdir()
    for name in ("__init__", "autograd"):
        (wave / f"{name}.py").write_text((PACKAGES / "tricky" / "wave" / f"{name}.py").read_text())
    for name, line in WRONG.items():
        for kind in ("tape", "func"):
            (wave / f"{name}_{kind}.py").write_text(SOURCE.format(line, kind))
    note = tmp_path / "note"
    note.write_bytes(bytes(NOTE_BYTES))
    process = Process(Job((), (str(tmp_path),), "cpu", 1, 0, 0.0), io.StringIO(), note)
    return Bench(process, Group("wave", "N=6,D=4", "float32", "cpu", 1))


@pytest.mark.parametrize("kind", ["tape", "func"])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("right", ()), ("alone", ("per_sample",)), ("crowded", (WHOLE, "ensemble")), ("scaled", (WHOLE,))],
)
def test_each_pass_is_judged_by_what_it_gave(bench: Bench, name: str, wrong: tuple[str, ...], kind: str) -> None:
    made = bench.ready(f"{name}_{kind}")
    for passed in (WHOLE, "per_sample", "ensemble"):
        said = bench.judge(made, passed)
        assert bool(said) == (passed in wrong), (passed, said)
        if said and passed != WHOLE:
            assert f"gradient of weight in {passed}" in said


def test_a_strategy_with_cuda_graphs_of_its_own_is_captured_in_no_other_and_its_memory_is_not_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(bench.process.job.sources[0]) / "wave" / "replayed.py"
    source.write_text(SOURCE.format(WRONG["right"], "tape").replace("(Wave, ", "(Wave, own_graphs=True, "))
    process = Process(bench.process.job, io.StringIO(), source.parents[1] / "note")
    bench.process, bench.group = process, dataclasses.replace(bench.group, device="cuda")
    monkeypatch.setattr("harness.run.measuring.Bench", lambda process, group: bench)
    assert [bench.own_graphs(name) for name in ("autograd", "replayed")] == [False, True]
    (status,) = measure_memory(process, Cell("memory", ("replayed",), bench.group))
    assert (status.status, status.stage, status.reason) == ("unsupported", "memory", UNCOUNTED)


def test_the_warm_up_counts_as_the_group_s(bench: Bench, tmp_path: Path) -> None:
    timed = [
        Cell("time", ("autograd", "right_tape"), bench.group, passed=p, launch=1, baseline="autograd")
        for p in ("forward", WHOLE)
    ]
    out, job = io.StringIO(), Job(tuple(timed), bench.process.job.sources, "cpu", 1, 0, 0.01)
    process = Process(job, out, tmp_path / "note")
    time_group(process, timed)
    messages = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(messages) == 2
    assert messages[0]["seconds"] >= 2 * WARM_UP_SECONDS  # no strategy is warmed up for less
    for message in messages:
        firsts = [r for r in message["records"] if r["kind"] == "first_call"]
        assert all(r["warm_up"] >= WARM_UP_SECONDS for r in firsts)
        (rounds,) = (r for r in message["records"] if r["kind"] == "rounds")
        sampled = sum(sum(r["wall_seconds"]) for r in message["records"] if r["kind"] == "samples")
        inside = rounds["spent"] + sum(r["seconds"] + r["warm_up"] + r["loading"] for r in firsts)
        assert sampled <= rounds["spent"] <= inside <= message["seconds"]
