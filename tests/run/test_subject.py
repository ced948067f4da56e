"""The subject's process: what travels arrives as it was, and what ends it or speaks out of turn is named."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.layers.discover import load, scan
from harness.layers.drawing import Values, draw
from harness.run.remote import Remote, SubjectDiedError, SubjectProcess
from harness.verify import arranging, probes, wrapping
from harness.verify.asking import Local, StrategyError
from harness.verify.probes import WrongAnswerError
from tests.conftest import PACKAGES, ROOT

SOURCE = str(PACKAGES / "tricky")
ENTRIES = {(e.layer, e.strategy): e for e in scan([SOURCE])}
LAYER = load(ENTRIES["wave", None]).value
DIMS = {"N": 5, "D": 7}

SHOWS = """
import torch
from harness import Strategy


class Shown(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        ctx.strides = x.stride(), weight.stride()
        return x * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        x_strides, weight_strides = ctx.strides
        places = torch.tensor([*x_strides, *weight_strides, *g.stride()], dtype=x.dtype)
        return x.new_zeros(x.shape).index_put((torch.tensor([0] * 5), torch.arange(5)), places), torch.zeros_like(weight)


def forward(x, weight):
    print("something on standard output", flush=True)
    return Shown.apply(x, weight)


strategy = Strategy(forward)
"""
KILLS = """
import os, signal
from harness import Strategy


def forward(x, weight):
    os.kill(os.getpid(), signal.SIGKILL)


strategy = Strategy(forward)
"""
LEAVES = """
import os
from harness import Strategy

strategy = Strategy(lambda x, weight: os._exit(3))
"""
CLOSES = """
import os, time
from harness import Strategy


def forward(x, weight):
    os.closerange(3, 256)
    time.sleep(60)


strategy = Strategy(forward)
"""
RAISES = """
from harness import Strategy


def forward(x, weight):
    raise ValueError("not today\\nnor tomorrow")


strategy = Strategy(forward)
"""
SPEAKS = """
import os, stat
from multiprocessing.connection import Connection
from harness import Strategy


def forward(x, weight):
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                Connection(os.dup(descriptor)).send_bytes(b"{}")
        except OSError:
            pass
    return x * weight


strategy = Strategy(forward)
"""
PRINTS = """
import os, sys
from harness import Strategy


def forward(x, weight):
    print("x" * 100_000, flush=True)
    os.write(1, b"\\x00\\xff" * 1000)
    sys.stderr.write("and here\\n")
    return (x.sin() * weight)


strategy = Strategy(forward)
"""
FILES = {
    "shows": SHOWS, "kills": KILLS, "leaves": LEAVES, "closes": CLOSES, "raises": RAISES, "speaks": SPEAKS,
    "prints": PRINTS, "broken": "import nothing_of_that_name\n",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def found_by_subjects() -> Iterator[None]:
    """As the conductor does it for its workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("subjects") / "layers" / "wave"
    folder.mkdir(parents=True)
    for name in ("__init__", "autograd"):
        (folder / f"{name}.py").write_text((Path(SOURCE) / "wave" / f"{name}.py").read_text())
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder.parent)


@pytest.fixture(scope="module")
def shared(source: str) -> Iterator[SubjectProcess]:
    with SubjectProcess((source,), "cpu", interpret=False) as process:
        yield process


@pytest.fixture
def alone(source: str) -> Iterator[SubjectProcess]:
    with SubjectProcess((source,), "cpu", interpret=False) as process:
        yield process


def _values(dtype: torch.dtype = torch.float32) -> Values:
    return draw(LAYER, DIMS, dtype, "cpu", 0)


def _ask(process: SubjectProcess, strategy: str, values: Values | None = None) -> Any:
    return Remote(process, "wave", strategy).ask(probes.gradients, DIMS, [values or _values()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_an_answer_is_bit_for_bit_what_it_would_be_here(shared: SubjectProcess, dtype: torch.dtype) -> None:
    there = _ask(shared, "autograd", _values(dtype))
    here = Local(LAYER, load(ENTRIES["wave", "autograd"]).value).ask(probes.gradients, DIMS, [_values(dtype)])
    assert list(there) == list(here) == ["output", "gradient of x", "gradient of weight"]
    for name, tensor in here.items():
        assert there[name].dtype == dtype
        assert torch.equal(there[name].view(torch.uint8), tensor.detach().view(torch.uint8))


@pytest.mark.parametrize("arrange", [*arranging.LAYOUTS, *arranging.COTANGENTS], ids=lambda a: a.__name__)
def test_strides_survive_the_trip(shared: SubjectProcess, arrange: Any) -> None:
    values = arrange(_values())
    seen = _ask(shared, "shows", values)["gradient of x"][0, :5].tolist()
    assert seen[:2] == list(values.inputs["x"].stride())
    assert seen[3:] == list(values.cotangent.stride())


def test_the_inputs_of_the_judge_are_out_of_reach(shared: SubjectProcess) -> None:
    values = _values()
    before = values.to(torch.float32).inputs["x"].clone()
    Remote(shared, "wave", "prints").ask(probes.updated, DIMS, [values, _values()])
    assert torch.equal(values.inputs["x"], before)


def test_claims_and_options_travel(shared: SubjectProcess) -> None:
    remote = Remote(shared, "wave", "autograd")
    claims = remote.claims()
    assert (claims.gradients, claims.sharpest_dtype, claims.working_dtype) == ("tape", "float64", "float32")
    assert not claims.dead_backward
    answer = remote.ask(probes.frozen, DIMS, [_values()], wanted=("weight",))
    assert list(answer) == ["output", "gradient of weight"]


def test_a_wrong_answer_and_an_error_arrive_as_what_they_are_and_end_nothing(shared: SubjectProcess) -> None:
    with pytest.raises(StrategyError, match=r"^ValueError: not today$") as error:
        _ask(shared, "raises")
    assert error.value.status == "runtime_error"
    with pytest.raises(WrongAnswerError, match="Jacobian mismatch") as wrong:
        Remote(shared, "wave", "shows").ask(wrapping.gradcheck, DIMS, [_values(torch.float64)])
    assert wrong.value.tensor == "gradient of x"
    with pytest.raises(StrategyError, match="No module named 'nothing_of_that_name'"):
        Remote(shared, "wave", "broken").claims()
    assert len(_ask(shared, "autograd")) == 3


def test_what_a_strategy_prints_disturbs_nothing(shared: SubjectProcess) -> None:
    answers = [_ask(shared, "prints") for _ in range(3)]
    assert all(torch.equal(a["output"], answers[0]["output"]) for a in answers)


def test_forgetting_compiled_code_needs_none(shared: SubjectProcess) -> None:
    shared.forget()
    assert len(_ask(shared, "autograd")) == 3


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        ("kills", "killed by signal 9 (SIGKILL), perhaps for want of memory"),
        ("leaves", "ended with exit code 3"),
        ("closes", "closed its pipe and went on"),
        ("speaks", "wrote into the pipe of the harness"),
    ],
)
def test_whatever_ends_the_talk_is_named(alone: SubjectProcess, strategy: str, text: str) -> None:
    with pytest.raises(SubjectDiedError) as error:
        _ask(alone, strategy)
    assert str(error.value) == text


def test_a_subject_that_is_killed_from_outside_says_so_at_the_next_question(alone: SubjectProcess) -> None:
    _ask(alone, "autograd")
    os.kill(alone._process.pid, signal.SIGTERM)
    alone._process.join()
    with pytest.raises(SubjectDiedError, match="killed by signal 15"):
        _ask(alone, "autograd")


def test_two_subjects_work_at_a_time(shared: SubjectProcess, alone: SubjectProcess) -> None:
    first, second = Remote(shared, "wave", "autograd"), Remote(alone, "wave", "autograd")
    first.begin(probes.gradients, DIMS, [_values()])
    second.begin(probes.gradients, DIMS, [_values()])
    assert torch.equal(second.finish()["output"], first.finish()["output"])


def test_a_subject_that_cannot_start_is_not_said_to_have_written() -> None:
    with SubjectProcess(("no/such/folder",), "cpu", interpret=False) as process:
        process.send({"kind": "forget"})
        with pytest.raises(SubjectDiedError, match="ended with exit code 1"):
            process.receive()


def test_a_subject_goes_when_its_judge_does(source: str) -> None:
    process = SubjectProcess((source,), "cpu", interpret=False)
    _ask(process, "autograd")
    process.__exit__()
    assert process._process.exitcode is not None
