"""What layers state of themselves: cost against torch's own counter, tasks on real data, second derivatives."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import Example, Layer, Strategy
from harness.layers.discover import load, scan
from harness.layers.drawing import draw
from harness.layers.gradients import build, vjp
from harness.layers.spec import options_of
from harness.measure import memory
from harness.measure.passes import ready
from harness.verify.probes import gradients
from implementations import decay_attention, swiglu

ENTRIES = {(e.layer, e.strategy): e for e in scan(["implementations"])}
LAYERS = sorted({layer for layer, _ in ENTRIES})


def _layer(name: str) -> Layer:
    return load(ENTRIES[name, None]).value  # type: ignore[no-any-return]


def _strategy(layer: str, name: str) -> Strategy:
    return load(ENTRIES[layer, name]).value  # type: ignore[no-any-return]


def test_affine_s_products_are_counted_as_torch_counts_them() -> None:
    layer, dims = _layer("affine"), {"B": 32, "I": 16, "O": 8, "gelu": 0}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    instance = build(_strategy("affine", "autograd"), dims, values.parameters)
    with FlopCounterMode(display=False) as forward:
        _, pullback = vjp(instance, values.leaves())
    with FlopCounterMode(display=False) as backward:
        pullback(values.cotangent)
    assert forward.get_total_flops() == layer.cost("forward", dims).flops - 32 * 8  # torch leaves the bias out
    assert backward.get_total_flops() == layer.cost("backward", dims).flops - 32 * 8


@pytest.mark.parametrize("strategy", ["library", "autograd", "function", "func"])
def test_affine_with_gelu_is_torch_s_own_and_without_it_the_product(strategy: str) -> None:
    layer, dims = _layer("affine"), {"B": 4, "I": 3, "O": 5, "gelu": 1}
    values = draw(layer, dims, torch.float64, "cpu", 0)
    x, (w, b) = values.inputs["x"], values.parameters.values()
    for gelu, expected in ((1, torch.nn.functional.gelu(x @ w + b)), (0, x @ w + b)):
        instance = build(_strategy("affine", strategy), {**dims, "gelu": gelu}, values.parameters)
        torch.testing.assert_close(instance.call(instance.parameters, values.inputs), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_complete(name: str) -> None:
    layer = _layer(name)
    assert layer.reference in {s for la, s in ENTRIES if la == name}
    assert len(layer.check) <= 3
    assert all(set(dims) == set(layer.check[0]) for dims in layer.check)
    for device in ("cpu", "cuda"):
        assert len(layer.sizes[device]["quick"]) == 1
        alike = [
            d for d in layer.sizes[device]["default"] if options_of(d) == options_of(layer.sizes[device]["default"][0])
        ]
        assert len(alike) == 3
        for name, values in layer.options.items():
            assert {d[name] for d in layer.sizes[device]["default"]} == set(values)
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


def test_decay_attention_s_naive_loss_is_the_data_s_and_training_beats_it_on_held_out_years() -> None:
    layer, reference = _layer("decay_attention"), _strategy("decay_attention", "autograd")
    task, (example,), held_out = layer.task, layer.task.examples(), decay_attention.held_out()

    def naive(e: Example) -> float:
        return (e.inputs["v"][:, 0, :, -1:] - e.target).square().mean().item()

    assert naive(example) == pytest.approx(task.naive_loss, abs=5e-5)
    assert naive(held_out) == pytest.approx(1.131, abs=5e-4)
    for seed in range(3):
        values = draw(layer, task.dims, torch.float64, "cpu", seed)
        parameters = {n: p.requires_grad_() for n, p in values.parameters.items()}
        optimizer = torch.optim.SGD(parameters.values(), lr=task.learning_rate)
        for _ in range(task.steps):
            optimizer.zero_grad()
            task.loss(reference.forward(**example.inputs, **parameters), example.target).backward()
            optimizer.step()
        assert all((p > 0).all() for p in parameters.values())
        with torch.no_grad():
            forecast = reference.forward(**held_out.inputs, **parameters)
        assert task.loss(forecast, held_out.target) == pytest.approx(0.904, abs=0.01)


def test_decay_attention_keeps_a_tenth_of_the_bytes_by_hand() -> None:
    layer, dims = _layer("decay_attention"), {"B": 1, "H": 4, "T": 1024, "D": 64}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    saved = {
        name: memory.measure(ready(layer, _strategy("decay_attention", name), dims, values).calls, "cpu").saved
        for name in ("autograd", "function")
    }
    assert saved["function"] == 4 * 4 * 1024
    assert saved["function"] <= saved["autograd"] / 10


@pytest.mark.parametrize(("name", "kept"), [("autograd", 5), ("library", 4), ("function", 2)])
def test_swiglu_keeps_what_it_says_of_b_times_h(name: str, kept: int) -> None:
    layer, dims = _layer("swiglu"), {"B": 64, "I": 16, "H": 48, "O": 32}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    saved = memory.measure(ready(layer, _strategy("swiglu", name), dims, values).calls, "cpu").saved
    assert saved == 4 * kept * 64 * 48


def test_swiglu_s_products_are_counted_as_torch_counts_them() -> None:
    layer, dims = _layer("swiglu"), {"B": 32, "I": 16, "H": 24, "O": 8}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    instance = build(_strategy("swiglu", "autograd"), dims, values.parameters)
    with FlopCounterMode(display=False) as forward:
        _, pullback = vjp(instance, values.leaves())
    with FlopCounterMode(display=False) as backward:
        pullback(values.cotangent)
    assert forward.get_total_flops() == layer.cost("forward", dims).flops - 5 * 32 * 24  # products alone
    assert backward.get_total_flops() == layer.cost("backward", dims).flops - 6 * 32 * 24


def test_swiglu_s_losses_are_the_data_s_and_training_beats_persistence_and_linear_maps() -> None:
    """On the years learnt from and on those held out."""
    layer, reference = _layer("swiglu"), _strategy("swiglu", "autograd")
    task, (example,), held_out = layer.task, layer.task.examples(), swiglu.held_out()
    naive = [task.loss(e.inputs["x"][:, :1], e.target).item() for e in (example, held_out)]
    assert naive == pytest.approx([task.naive_loss, 0.6905], abs=5e-5)
    best = torch.linalg.lstsq(example.inputs["x"], example.target).solution
    linear = [task.loss(e.inputs["x"] @ best, e.target).item() for e in (example, held_out)]
    assert linear == pytest.approx([0.5025, 0.4914], abs=5e-5)
    found = []
    for seed in range(8):
        parameters = draw(layer, task.dims, torch.float64, "cpu", seed).parameters
        parameters = {n: p.requires_grad_() for n, p in parameters.items()}
        optimizer = torch.optim.SGD(parameters.values(), lr=task.learning_rate)
        for _ in range(task.steps):
            optimizer.zero_grad()
            task.loss(reference.forward(**example.inputs, **parameters), example.target).backward()
            optimizer.step()
        with torch.no_grad():
            trained = [task.loss(reference.forward(**e.inputs, **parameters), e.target) for e in (example, held_out)]
        found.append(torch.stack(trained))
    mean = torch.stack(found).mean(0)
    assert mean.tolist() == pytest.approx([0.498, 0.475], abs=0.005)
    assert (mean < torch.tensor(linear)).all()


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
    layer = _layer(name)
    options = options_of(layer.check[0])
    forward = partial(_strategy(name, "function").forward, **options)
    values = draw(layer, layer.check[0], torch.float64, "cpu", 0)
    leaves = [*values.leaves().values(), *(p.requires_grad_() for p in values.parameters.values())]
    assert torch.autograd.gradgradcheck(forward, leaves, rtol=1e-6, atol=1e-8)

    reference = partial(_strategy(name, "autograd").forward, **options)
    many = [draw(layer, layer.check[0], torch.float64, "cpu", seed).inputs for seed in range(3)]
    inputs = {n: torch.stack([each[n] for each in many]) for n in layer.inputs}
    parameters = {n: p.detach() for n, p in values.parameters.items()}

    def per_sample(f: Any) -> Any:
        gradient = torch.func.grad(lambda p, x: f(**x, **p).square().sum())
        return torch.func.vmap(gradient, in_dims=(None, 0))(parameters, inputs)

    torch.testing.assert_close(per_sample(forward), per_sample(reference))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mask", [(True, False), (False, True)])
def test_function_does_no_work_for_what_is_frozen(name: str, mask: tuple[bool, bool]) -> None:
    layer = _layer(name)
    forward = partial(_strategy(name, "function").forward, **options_of(layer.check[0]))
    values = draw(layer, layer.check[0], torch.float32, "cpu", 0)
    inputs, parameters = values.differentiable(), values.parameters
    for operands, wanted in zip((inputs, parameters), mask, strict=True):
        for operand in operands.values():
            operand.requires_grad_(wanted)
    forward(**values.inputs, **parameters).backward(values.cotangent)
    assert all((x.grad is not None) == mask[0] for x in inputs.values())
    assert all((p.grad is not None) == mask[1] for p in parameters.values())


def test_rms_norm_s_function_takes_rows_longer_than_its_blocks() -> None:
    layer, dims = _layer("rms_norm"), {"N": 2, "D": 2**17 + 1}
    values = draw(layer, dims, torch.float32, "cpu", 0)
    asked = [gradients(_strategy("rms_norm", name), dims, [values]) for name in ("function", "autograd")]
    for name, like in asked[1].items():
        torch.testing.assert_close(asked[0][name], like)
