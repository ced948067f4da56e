"""Memory is exact to the byte, by hand formulas."""

import pytest
import torch

from harness import Strategy
from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.layers.gradients import vjp
from harness.measure import memory
from harness.measure.passes import Call, ready
from implementations.affine import layer as affine
from implementations.weighted_sum import layer as weighted_sum
from tests.measure.counted import FIGURES, SIZES, compared

STRATEGIES = {(e.layer, e.strategy): load(e).value for e in scan(["implementations"]) if e.strategy}


@pytest.mark.parametrize("strategy", ["library", "autograd", "function", "func"])
@pytest.mark.parametrize(("B", "I", "O"), [(7, 13, 5), (1, 1, 1), (64, 32, 16), (33, 65, 129)])
def test_affine_is_exact(strategy: str, B: int, I: int, O: int) -> None:  # noqa: E741
    dims = {"B": B, "I": I, "O": O, "gelu": 0}
    values = draw(affine, dims, torch.float32, "cpu", 0)
    found = memory.measure(ready(affine, STRATEGIES["affine", strategy], dims, values).calls, "cpu")
    product = B * O if strategy in ("autograd", "func") else 0  # x W before the bias is added
    assert found.forward_peak == 4 * (B * O + product)
    assert found.backward_peak == 4 * (B * O + B * I + I * O + O)
    assert found.saved == 0  # x and W are inputs
    assert found.left == 0


@pytest.mark.parametrize("strategy", ["library", "autograd", "function", "func"])
@pytest.mark.parametrize(("B", "I", "O"), [(7, 13, 5), (1, 1, 1), (64, 32, 16), (33, 65, 129)])
def test_affine_keeps_the_pre_activation_for_gelu(strategy: str, B: int, I: int, O: int) -> None:  # noqa: E741
    dims = {"B": B, "I": I, "O": O, "gelu": 1}
    values = draw(affine, dims, torch.float32, "cpu", 0)
    found = memory.measure(ready(affine, STRATEGIES["affine", strategy], dims, values).calls, "cpu")
    plain = strategy in ("autograd", "func")
    assert found.saved == (4 * 3 * B * O + 2 * 8 if plain else 4 * B * O)  # z, z/√2, Φ(z) and the numbers √2, ½; z
    assert found.left == 0


@pytest.mark.parametrize("strategy", ["autograd", "func", "function", "library"])
@pytest.mark.parametrize(("N", "D"), [(7, 13), (64, 32), (129, 65)])
def test_weighted_sum_is_exact(strategy: str, N: int, D: int) -> None:
    dims = {"N": N, "D": D}
    values = draw(weighted_sum, dims, torch.float32, "cpu", 0)
    found = memory.measure(ready(weighted_sum, STRATEGIES["weighted_sum", strategy], dims, values).calls, "cpu")
    plain = strategy in ("autograd", "func")
    made = {"function": 2 * D, "library": D}.get(strategy, N * D)  # column sums and their product; sums; the product
    assert found.forward_peak == 4 * (made + 1)  # and y
    assert found.saved == (0 if plain else 4 * D)
    assert found.left == 0


EAGER = ["autograd", "func", "function", "library"]


@pytest.mark.parametrize(
    ("layer", "sizes", "strategies"),
    [*((layer, sizes, EAGER) for layer, sizes in SIZES.items()), ("affine", SIZES["affine"][3:5], ["compiled"])],
)
def test_an_independent_count_finds_the_same_bytes(
    layer: str, sizes: list[dict[str, int]], strategies: list[str]
) -> None:
    rows = compared(layer, sizes, strategies)
    assert len(rows) == len(sizes) * len(strategies) >= 2
    for row in rows:
        assert [row[f][0] for f in FIGURES] == [row[f][1] for f in FIGURES], row


def _with_extra(extra: int, where: str) -> int:
    """Difference that a planted tensor of ``extra`` bytes makes."""
    dims = {"N": 16, "D": 8}
    values = draw(weighted_sum, dims, torch.float32, "cpu", 0)
    made = ready(weighted_sum, STRATEGIES["weighted_sum", "autograd"], dims, values).calls
    plain = memory.measure(made, "cpu")

    def prepare() -> object:
        output, pullback, _ = made["backward"].prepare()
        held = torch.empty(extra, dtype=torch.uint8)
        return output, lambda g: (pullback(g), held)[0]

    planted = memory.measure({**made, "backward": Call(prepare, lambda m: m[1](values.cotangent))}, "cpu")
    return int(getattr(planted, where) - getattr(plain, where))


@pytest.mark.parametrize("extra", [4, 1 << 22])
def test_a_planted_tensor_shows_as_exactly_its_size(extra: int) -> None:
    assert _with_extra(extra, "saved") == extra
    assert _with_extra(extra, "backward_peak") == extra


def test_what_a_strategy_keeps_on_ctx_is_seen() -> None:
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):  # type: ignore[no-untyped-def]
            ctx.hidden = x * 2
            return (x * weight).sum()

        @staticmethod
        def backward(ctx, g):  # type: ignore[no-untyped-def]
            return g * torch.ones_like(ctx.hidden), g * ctx.hidden.sum(0)

    dims = {"N": 16, "D": 8}
    values = draw(weighted_sum, dims, torch.float32, "cpu", 0)
    strategy = Strategy(lambda x, weight: Keeps.apply(x, weight))
    assert memory.measure(ready(weighted_sum, strategy, dims, values).calls, "cpu").saved == 4 * 16 * 8


def test_the_output_of_the_pullback_is_dense() -> None:
    values = draw(weighted_sum, {"N": 4, "D": 3}, torch.float32, "cpu", 0)
    from harness.layers.gradients import build

    instance = build(STRATEGIES["weighted_sum", "function"], {"N": 4, "D": 3}, values.parameters)
    _, pullback = vjp(instance, values.leaves())
    assert all(g.is_contiguous() and g.untyped_storage().nbytes() == 4 * g.numel() for g in pullback(values.cotangent))
