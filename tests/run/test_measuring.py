"""What was timed is judged: each pass by its own answers, on other values in the very tensors that were timed."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch

from harness import Layer, Operand, Strategy
from harness.layers.drawing import draw
from harness.measure.draws import Draws
from harness.measure.passes import ready
from harness.measure.sampler import WARM_UP_SECONDS
from harness.records.schema import Group
from harness.run.answers import WHOLE, TimedAnswers
from harness.run.jobs import NOTE_BYTES, Cell, Job
from harness.run.measuring import Bench, time_group
from harness.run.process import Process
from harness.run.unpaired import UNCOUNTED, measure_memory
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
    monkeypatch.setattr("harness.run.unpaired.Bench", lambda process, group: bench)
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


KEPT = '''"""Right when it is asked once: what it has answered is kept by address and version."""

import torch

from harness import Strategy

KEPT = {}


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        key = (x.data_ptr(), x.shape, x._version, weight.data_ptr(), weight._version)
        if key not in KEPT:
            KEPT.clear()
            KEPT[key] = torch.sin(x) * weight
        return KEPT[key].clone()

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        return g * torch.cos(x) * weight, (g * torch.sin(x)).flatten(0, -2).sum(0)


strategy = Strategy(lambda x, weight: Sine.apply(x, weight))
'''


def _timed(folder: Path, group: Group, strategies: tuple[str, ...], passes: tuple[str, ...]) -> list[dict[str, object]]:
    """The records of a group's cells, timed for as short as may be."""
    cells = [Cell("time", strategies, group, passed=p, launch=1, baseline="autograd") for p in passes]
    out = io.StringIO()
    process = Process(Job(tuple(cells), (str(folder),), "cpu", 1, 0, 0.01), out, folder / "note")
    time_group(process, cells)
    return [record for line in out.getvalue().splitlines() for record in json.loads(line)["records"]]


def test_what_answers_from_a_cache_is_refused_as_it_is_timed_and_timed_no_more(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "wave" / "kept.py").write_text(KEPT)
    made = bench.ready("autograd")
    assert bench.judge(made, WHOLE) == ""
    records = _timed(tmp_path, bench.group, ("autograd", "kept"), ("forward", WHOLE))
    (status,) = (r for r in records if r["kind"] == "status")
    assert (status["strategy"], status["status"], status["stage"], status["pass"]) == ("kept", "wrong", "time", "")
    assert str(status["reason"]).startswith("wrong where it was timed: output in forward is ")
    assert {(r["pass"], r["strategy"]) for r in records if r["kind"] == "samples"} == {
        ("forward", "autograd"), ("forward", "kept"), (WHOLE, "autograd")
    }  # fmt: skip
    assert {(r["pass"], r["judged"], r["unseen"]) for r in records if r["kind"] == "rounds"} == {
        ("forward", 3, ""), (WHOLE, 3, "")
    }  # fmt: skip


FAINT = '''"""A large number, and a little that depends on what is read."""

from harness import Layer, Operand, Strategy

layer = Layer(title="faint", formula="1000 + mean(x w)", inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))}, output=(), check=({"N": 4, "D": 3},), sizes={})
strategies = {"autograd": Strategy(lambda x, weight: 1000 + (x * weight).mean())}
'''


@pytest.mark.parametrize(("dtype", "unseen"), [("float32", ""), ("bfloat16", "the answer of another call")])
def test_where_a_stale_answer_would_pass_more_are_judged_and_then_it_is_said(
    tmp_path: Path, dtype: str, unseen: str
) -> None:
    (tmp_path / "faint.py").write_text(FAINT)
    (tmp_path / "note").write_bytes(bytes(NOTE_BYTES))
    cells = [
        Cell(
            "time", ("autograd",), Group("faint", "N=64,D=8", dtype, "cpu", 1), passed=p, launch=1, baseline="autograd"
        )
        for p in (WHOLE, "forward")
    ]
    out = io.StringIO()
    time_group(
        Process(Job(tuple(cells), (str(tmp_path / "faint.py"),), "cpu", 1, 0, 0.01), out, tmp_path / "note"), cells
    )
    records = [record for line in out.getvalue().splitlines() for record in json.loads(line)["records"]]
    found = {r["pass"]: (r["judged"], r["unseen"]) for r in records if r["kind"] == "rounds"}
    assert found == {WHOLE: (3, ""), "forward": (7 if unseen else 3, unseen)}


@pytest.mark.parametrize(("leak", "wrong"), [(0.0, False), (1e-3, True)])
def test_a_timed_gradient_whose_terms_cancel_is_held_to_their_size(leak: float, wrong: bool) -> None:
    """The gradient of a bias on all keys of a softmax is 0, and rounding in the reference and in right strategies."""
    dims = {"N": 33, "D": 64}
    layer = Layer(
        inputs={"x": Operand(("N", "D"))}, parameters={"bias": Operand(())}, output=("N", "D"), check=(dims,)
    )  # fmt: skip
    values = draw(layer, dims, torch.float32, "cpu", 0)
    reference = Strategy(lambda x, bias: torch.softmax(x + bias, -1))
    other = Strategy(lambda x, bias: torch.exp(torch.log_softmax(x + bias, -1)) + leak * (bias - bias.detach()))
    timed = TimedAnswers(layer, reference, dims, torch.float32, Draws(layer, dims, values, 0))
    name, ratio = timed.worst_afterwards(ready(layer, other, dims, values), WHOLE, 0)
    assert (name == "gradient of bias" and ratio > 3) if wrong else ratio <= 1
