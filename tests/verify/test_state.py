"""What an import may change, what a call may, and what the harness rests on."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from harness import Strategy
from harness.layers.drawing import draw
from harness.verify import state
from harness.verify.probes import WrongAnswerError
from tests.verify.variants import gate

DIMS = {"N": 6, "D": 11}


@pytest.fixture(autouse=True)
def _started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(state._start)
    state.remember_state()
    yield
    state._start.clear()
    state._imported.clear()
    state._start.update(before)


def _asked(strategy: Strategy = gate.reference) -> Any:
    return state.left_alone(strategy, DIMS, [draw(gate.layer, DIMS, torch.float32, "cpu", 0)])


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("torch.index_select", False),
        ("torch.nn.functional.gelu", False),
        ("torch.get_rng_state()", False),
        ("torch.set_flush_denormal()", True),
        ("torch.autograd.grad", True),
        ("torch.Tensor.detach", True),
        ("time.perf_counter", True),
        ("torch.cuda.synchronize", True),
        ("torch.cuda._sleep", True),
        ("torch.cuda.Event.elapsed_time", True),
    ],
)
def test_what_the_harness_rests_on(name: str, used: bool) -> None:
    assert name in state.state()
    assert state.is_used_by_harness(name) == used


def test_what_an_import_replaces_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with state.importing():
        monkeypatch.setattr(torch, "index_select", lambda *a: None)
        torch.randn(1)
    assert set(_asked()) == {"torch.index_select", "torch.get_rng_state()"}


@pytest.mark.parametrize(
    ("place", "name"), [(torch.cuda.Event, "elapsed_time"), (torch.cuda.CUDAGraph, "replay"), (torch.autograd, "grad")]
)
def test_an_import_must_not_replace_what_the_harness_uses(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    real = getattr(place, name)
    with state.importing():
        monkeypatch.setattr(place, name, lambda *args, **more: real(*args, **more))
    with pytest.raises(WrongAnswerError, match="by its import") as error:
        _asked()
    assert error.value.tensor.endswith(f".{name}")


def test_a_call_must_not_replace_what_an_import_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(x: Any, slope: Any, shift: Any) -> Any:
        monkeypatch.setattr(torch, "index_select", lambda *a: None)
        return gate.forward(x, slope, shift)

    with pytest.raises(WrongAnswerError, match="was changed by a call") as error:
        _asked(Strategy(forward))
    assert error.value.tensor == "torch.index_select"
