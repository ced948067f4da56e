"""Strategies that answer from what they have kept are refused where they are timed, by every clock and in every pass.

The meter's own planted faults are of a dense layer; their variants here are of other layers, and of other kinds.
"""

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.layers.drawing import draw
from harness.layers.spec import Dims, Layer, Operand, Strategy
from harness.measure.clock import Clock, CpuClock
from harness.measure.cuda import ColdClock, GraphClock, WallClock
from harness.measure.draws import Draws
from harness.measure.passes import Call, ready
from harness.measure.sampler import Arm, sample
from harness.run.answers import TimedAnswers
from harness.run.stale import FAULTS, Kept, by_data, by_data_and_weights, by_version, dense_from, stale_answers, worst
from harness.verify.controls import dense_layer
from harness.verify.oracle import RETRY_BELOW
from tests.measure.test_cuda import FakeCuda


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """Each trial collects garbage, which takes long where so much is loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class _Recorder(TorchDispatchMode):
    """Notes each operation with the tensors that it read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.noted.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        """Do them again, into the same tensors."""
        for func, args, kwargs, made in self.noted:
            read = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.untyped_storage().data_ptr() not in read:
                    old.copy_(new)


class ReplayingCuda(FakeCuda):
    """Its graphs hold what was done while they were captured, and do it again, whatever Python would now do."""

    @contextmanager
    def graph(self, graph: Any, stream: Any) -> Iterator[None]:
        recorder = _Recorder()
        with super().graph(graph, stream), recorder:
            yield
        replay = graph.replay

        def again() -> None:
            replay()
            with torch.no_grad():
                recorder.replay()

        graph.replay = again


CLOCKS: dict[str, Callable[[], Clock]] = {
    "cpu": CpuClock,
    "wall": lambda: WallClock(FakeCuda()),
    "cold": lambda: ColdClock(lambda: None, FakeCuda()),
    "hot": lambda: GraphClock(ReplayingCuda(), cache_bytes=2**20),
}


def test_each_planted_fault_is_refused_wherever_it_finds_an_answer_to_give_again() -> None:
    assert [(p.what, p.result) for p in stale_answers() if p.result != "held"] == []


@pytest.mark.parametrize("passed", ["forward", "inference", "forward_backward", "step"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("clock", ["wall", "cold"])
def test_by_a_clock_of_a_gpu_too(clock: str, fault: str, passed: str) -> None:
    kept = FAULTS[fault][0]()
    far = worst(
        dense_layer.layer, dense_layer.reference, dense_from(kept), {"B": 12, "I": 8, "O": 8}, passed,
        CLOCKS[clock](), torch.float32,
    )  # fmt: skip
    assert (far >= RETRY_BELOW) == (kept.used > 0), (far, kept.used)
    if fault in ("the previous answer", "fingerprint of 1,000 elements"):
        assert kept.used


@pytest.mark.parametrize("passed", ["forward", "inference", "forward_backward", "step"])
def test_a_captured_graph_that_holds_a_copy_of_what_was_kept_is_refused_by_what_it_replays(passed: str) -> None:
    def far(strategy: Strategy) -> float:
        dims = {"B": 12, "I": 8, "O": 8}
        return worst(
            dense_layer.layer, dense_layer.reference, strategy, dims, passed, CLOCKS["hot"](), torch.float32
        )  # fmt: skip

    assert far(dense_layer.reference) <= 1
    assert far(dense_from(Kept(by_data))) <= 1  # what is captured was never read before, so it is computed
    for late in (False, True):  # an answer was kept before the capture, whatever is read
        assert far(dense_from(Kept(lambda data, weights: None, late))) >= RETRY_BELOW


DIMS: Dims = {"N": 16, "D": 8}
soft = Layer(
    title="a scaled softmax", formula="softmax(x w)", inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))}, output=("N", "D"), check=(DIMS,), sizes={}, leading="N",
)  # fmt: skip


def _soft(x: Tensor, weight: Tensor) -> Tensor:
    return torch.softmax(x * weight, -1)


def soft_from(kept: Kept, output: bool = True) -> Strategy:
    """The softmax with its answers from what is kept; without ``output`` its gradients alone."""

    class From(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(x, weight)
            return kept("y", [x], [weight], lambda: (_soft(x, weight),))[0] if output else _soft(x, weight)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            x, weight = ctx.saved_tensors

            def true() -> tuple[Tensor, ...]:
                y = _soft(x, weight)
                z = y * (g - (g * y).sum(-1, keepdim=True))
                return z * weight, (z * x).sum(0)

            return kept("g", [x, g], [weight], true)

    return Strategy(lambda x, weight: From.apply(x, weight))


def _whole(data: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
    """A full hash of what changes with the calls, the weights left out."""
    return tuple(t.detach().numpy().tobytes() for t in data)


def _identity(data: Sequence[Tensor], weights: Sequence[Tensor]) -> object:
    return tuple(t.data_ptr() for t in data)  # id() of a tensor that a Function is given is that of a new wrapper


class Clearing(Kept):
    """Forgets all when a version has moved."""

    def __init__(self) -> None:
        super().__init__(lambda data, weights: None)
        self._versions: object = None

    def __call__(self, what: str, data: Any, weights: Any, true: Any) -> tuple[Tensor, ...]:
        versions = [t._version for t in (data[0], *weights)]
        if versions != self._versions:
            self._versions, self._answers = versions, {}
        return super().__call__(what, data, weights, true)


VARIANTS: dict[str, Callable[[], Strategy]] = {
    "previous answer": lambda: soft_from(Kept(lambda data, weights: None, late=True)),
    "by identity": lambda: soft_from(Kept(_identity)),
    "cleared when a version moves": lambda: soft_from(Clearing()),
    "full hash without the weights": lambda: soft_from(Kept(_whole)),
    "backward alone, by version": lambda: soft_from(Kept(by_version), output=False),
    "backward alone, full hash without the weights": lambda: soft_from(Kept(_whole), output=False),
}


@pytest.mark.parametrize("passed", ["forward", "inference", "backward", "forward_backward", "per_sample"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_on_another_layer_are_refused(variant: str, passed: str) -> None:
    reference = Strategy(_soft)
    far = worst(soft, reference, VARIANTS[variant](), DIMS, passed, CpuClock(), torch.float32)
    alone = variant.startswith("backward") and passed in ("forward", "inference")
    assert (far <= 1) if alone else (far >= RETRY_BELOW)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_in_every_dtype_the_right_one_passes_and_a_stale_one_does_not(dtype: torch.dtype) -> None:
    reference = Strategy(_soft)
    for passed in ("forward_backward", "step"):
        assert worst(soft, reference, Strategy(_soft), DIMS, passed, CpuClock(), dtype) <= 1
        assert worst(soft, reference, VARIANTS["previous answer"](), DIMS, passed, CpuClock(), dtype) >= RETRY_BELOW


def test_the_same_contents_never_come_again_with_the_same_weights() -> None:
    for passed in ("forward", "backward", "forward_backward"):
        kept = Kept(lambda data, weights: _whole((*data, *weights), ()))
        assert worst(soft, Strategy(_soft), soft_from(kept), DIMS, passed, CpuClock(), torch.float32) <= 1
        assert kept.used == 0
    assert by_data_and_weights([torch.ones(2)], [torch.zeros(1)]) != by_data([torch.ones(2)], [])


class Hits:
    """A clock by which a call takes a tenth of the time where something that was kept is used in it."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def spans(self, call: Call, n: int) -> list[float]:
        """See ``Clock``."""
        found = []
        for _ in range(n):
            call.write(1)
            before = self._kept.used
            call.done((call.run(call.prepare()),))
            found.append(1e5 if self._kept.used > before else 1e6)
        return found


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_kept_of_the_inputs_alone_is_right_and_takes_longer_where_contents_are_new(keeps: bool) -> None:
    kept = Kept(by_data)

    def forward(x: Tensor, weight: Tensor) -> Tensor:
        part = kept("part", [x], [], lambda: (torch.softmax(x, -1),))[0] if keeps else torch.softmax(x, -1)
        return part * weight

    values = draw(soft, DIMS, torch.float32, "cpu", 0)
    draws = Draws(soft, DIMS, values, 0)
    call = ready(soft, Strategy(forward), DIMS, values, draws).calls["inference"]
    (one,), _ = sample([Arm("s", False, call)], Hits(kept), 0.5, random.Random(0), draws=draws)
    truth = TimedAnswers(soft, Strategy(lambda x, weight: torch.softmax(x, -1) * weight), DIMS, torch.float32, draws)
    assert max(truth.ratios("inference", one.judged).values()) <= 1
    assert len(one.new) == 3
    assert sorted(one.new)[1] == (10 if keeps else 1)
