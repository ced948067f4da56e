"""What layers state of themselves: cost against torch's own counter, tasks on real data, second derivatives."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import Layer, Strategy
from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.layers.gradients import build, vjp

ENTRIES = {(e.layer, e.strategy): e for e in scan(["implementations"])}
LAYERS = sorted({layer for layer, _ in ENTRIES})


def _layer(name: str) -> Layer:
    return load(ENTRIES[name, None]).value  # type: ignore[no-any-return]


def _strategy(layer: str, name: str) -> Strategy:
    return load(ENTRIES[layer, name]).value  # type: ignore[no-any-return]


def test_affine_s_products_are_counted_as_torch_counts_them() -> None:
    layer, dims = _layer("affine"), {"B": 32, "I": 16, "O": 8}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    instance = build(_strategy("affine", "autograd"), dims, values.parameters)
    with FlopCounterMode(display=False) as forward:
        _, pullback = vjp(instance, values.leaves())
    with FlopCounterMode(display=False) as backward:
        pullback(values.cotangent)
    assert forward.get_total_flops() == layer.cost("forward", dims).flops - 32 * 8  # torch leaves the bias out
    assert backward.get_total_flops() == layer.cost("backward", dims).flops - 32 * 8


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_complete(name: str) -> None:
    layer = _layer(name)
    assert layer.reference in {s for la, s in ENTRIES if la == name}
    assert len(layer.check) <= 3
    assert all(set(dims) == set(layer.check[0]) for dims in layer.check)
    for device in ("cpu", "cuda"):
        assert len(layer.sizes[device]["quick"]) == 1
        assert len(layer.sizes[device]["default"]) == 3
        assert layer.sizes[device]["quick"][0] == layer.sizes[device]["default"][0] == layer.sizes[device]["full"][0]


@pytest.mark.parametrize("name", LAYERS)
def test_a_task_is_real_and_worth_training_for(name: str) -> None:
    task = _layer(name).task
    examples = task.examples()
    assert sum(e.target.numel() for e in examples) > 10
    assert all(x.dtype == torch.float64 and torch.isfinite(x).all() for e in examples for x in e.inputs.values())
    assert task.target_loss < task.naive_loss
    assert "public domain" in task.source
    for operand, x in zip(_layer(name).inputs.values(), examples[0].inputs.values(), strict=True):
        assert operand.sizes(task.dims) == x.shape


def test_weighted_sum_s_naive_loss_is_the_data_s() -> None:
    task = _layer("weighted_sum").task
    targets = torch.stack([e.target for e in task.examples()])
    assert sum(task.loss(targets.mean(), t) for t in targets) == pytest.approx(task.naive_loss, abs=5e-5)


def test_rms_norm_s_losses_are_the_data_s() -> None:
    """The naive one, and that one number for all months does not reach the target."""
    layer = _layer("rms_norm")
    (example,) = layer.task.examples()
    normal = _strategy("rms_norm", "autograd").forward(**example.inputs, weight=torch.ones(12, dtype=torch.float64))
    assert layer.task.loss(normal, example.target) == pytest.approx(layer.task.naive_loss, abs=5e-5)
    one = (normal * example.target).sum() / normal.square().sum()
    assert layer.task.loss(one * normal, example.target) == pytest.approx(0.830, abs=5e-4)
    assert layer.task.loss(one * normal, example.target) > layer.task.target_loss


@pytest.mark.parametrize("name", LAYERS)
def test_function_has_second_derivatives_and_per_sample_gradients(name: str) -> None:
    layer, forward = _layer(name), _strategy(name, "function").forward
    values = draw(layer, layer.check[0], torch.float64, "cpu", 0)
    leaves = [t.requires_grad_() for t in (*values.inputs.values(), *values.parameters.values())]
    assert torch.autograd.gradgradcheck(forward, leaves, rtol=1e-6, atol=1e-8)

    reference = _strategy(name, "autograd").forward
    x, *parameters = [t.detach() for t in leaves]
    many = torch.randn(3, *x.shape, dtype=torch.float64)

    def per_sample(f: Any) -> Any:
        gradient = torch.func.grad(lambda w, x: f(x, w, *parameters[1:]).square().sum())
        return torch.func.vmap(gradient, in_dims=(None, 0))(parameters[0], many)

    torch.testing.assert_close(per_sample(forward), per_sample(reference))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mask", [(True, False), (False, True)])
def test_function_does_no_work_for_what_is_frozen(name: str, mask: tuple[bool, bool]) -> None:
    layer, forward = _layer(name), _strategy(name, "function").forward
    values = draw(layer, layer.check[0], torch.float32, "cpu", 0)
    x, *parameters = [*values.inputs.values(), *values.parameters.values()]
    x.requires_grad_(mask[0])
    for p in parameters:
        p.requires_grad_(mask[1])
    forward(x, *parameters).backward(values.cotangent)
    assert (x.grad is not None) == mask[0]
    assert all((p.grad is not None) == mask[1] for p in parameters)
