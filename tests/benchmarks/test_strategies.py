"""Every strategy through pytest-benchmark's fixture: ``pytest --benchmark-only tests/benchmarks -k "affine and step"``.

For people who live in pytest. One arm after the other in one process: what this cannot see is in docs/measuring.md.
"""

from typing import Any

import pytest
import torch

from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.layers.spec import Layer, Strategy
from harness.measure.passes import ready

FOUND = {(e.layer, e.strategy): load(e) for e in scan(["implementations"])}
LAYERS = {layer: found.value for (layer, strategy), found in FOUND.items() if strategy is None}
STRATEGIES = {
    (layer, strategy): found.value
    for (layer, strategy), found in FOUND.items()
    if strategy is not None and found.error is None
}
pytestmark = pytest.mark.filterwarnings("default")  # what a strategy warns of is not judged here

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PASSES = ("forward", "inference", "backward", "forward_backward", "step")
CASES = [
    (layer, strategy, passed)
    for (layer, strategy), found in STRATEGIES.items()
    if DEVICE in found.devices
    for passed in PASSES
]


@pytest.fixture(autouse=True)
def _only_when_asked(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--benchmark-only"):
        pytest.skip("run with --benchmark-only")


@pytest.mark.parametrize(("name", "strategy", "passed"), CASES, ids=["-".join(case) for case in CASES])
def test_speed(benchmark: Any, name: str, strategy: str, passed: str) -> None:
    layer: Layer = LAYERS[name]
    way: Strategy = STRATEGIES[name, strategy]
    dims = layer.sizes[DEVICE]["quick"][0]
    torch.set_num_threads(1)
    call = ready(layer, way, dims, draw(layer, dims, torch.float32, DEVICE, 0)).calls[passed]

    def prepared() -> tuple[tuple[Any], dict[str, Any]]:
        return (call.prepare(),), {}

    def run(made: Any) -> None:
        call.run(made)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"{name} {passed}"
    benchmark.pedantic(run, setup=prepared, rounds=50, warmup_rounds=5)
