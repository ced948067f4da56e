"""Controls on a causal layer over irregular time stamps: y_i = Σ_{j ≤ i} exp(−r (t_i − t_j)) x_j, r > 0 learned."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from harness.layers.spec import Cost, Layer, Operand, Strategy
from harness.layers.task import Example, Task
from harness.verify.controls.control import Control, normal


def _times(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Increasing, with gaps between 0.1 and 2."""
    return (0.1 + 1.9 * torch.rand(shape, generator=generator, device=generator.device)).cumsum(-1)


def _rates(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 0.2 + torch.rand(shape, generator=generator, device=generator.device)


def _examples() -> list[Example]:
    times = torch.linspace(0, 3, 12, dtype=torch.float64).square()[None]
    x = torch.cos(times)[..., None]
    gaps = (times[:, :, None] - times[:, None, :]).clamp_min(0)
    return [Example({"x": x, "t": times}, (torch.exp(-0.5 * gaps).tril() @ x) + 0.01)]


layer = Layer(
    title="causal decay over time stamps",
    formula="y_i = Σ_{j ≤ i} exp(−r (t_i − t_j)) x_j",
    inputs={"x": Operand(("B", "T", "D"), normal), "t": Operand(("B", "T"), _times)},
    parameters={"rate": Operand(("D",), _rates)},
    output=("B", "T", "D"),
    check=({"B": 2, "T": 7, "D": 3}, {"B": 1, "T": 1, "D": 1}, {"B": 3, "T": 17, "D": 5}),
    sizes={},
    cost=lambda passed, dims: Cost(1, 1),
    task=Task(
        title="a decay",
        source="made up: the controls are about the gate, not about data",
        dims={"B": 1, "T": 12, "D": 1},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=0.1,
        steps=40,
        naive="zero",
        naive_loss=1.0,
        target_loss=0.5,
    ),
    leading="B",
    causal="T",
)


def _decayed(x: Tensor, gaps: Tensor, rate: Tensor, ahead: int = 0) -> Tensor:
    """x [B, T, D], gaps [B, T, T] -> [B, T, D]; ``ahead`` is how far the mask reaches into the future."""
    T = x.shape[1]
    visible = torch.ones(T, T, dtype=torch.bool, device=x.device).tril(ahead)
    gaps = gaps.where(visible, 0.0)
    weights = torch.exp(-rate * gaps[..., None]) * visible[..., None]
    return (weights * x[:, None]).sum(2)


def _gaps(t: Tensor) -> Tensor:
    return t[:, :, None] - t[:, None, :]


def _by_index(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    index = torch.arange(t.shape[1], device=t.device, dtype=t.dtype).expand_as(t)
    return _decayed(x, _gaps(index) + 0 * _gaps(t), rate)


def _last_looks_ahead(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    here = torch.zeros_like(x)
    here[:, -2:-1] = 1e-3
    return _decayed(x, _gaps(t), rate) + here * x.roll(-1, 1)


def _gradient_looks_ahead(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    later = x.roll(-1, 1)
    return _decayed(x, _gaps(t), rate) + 1e-3 * (later - later.detach())


reference = Strategy(lambda x, t, rate: _decayed(x, _gaps(t), rate))

CONTROLS = {
    "decay_sign": Control(
        45, "the decay's sign flipped", "values", Strategy(lambda x, t, rate: _decayed(x, -_gaps(t), rate))
    ),
    "mask_off_by_one": Control(
        46, "the mask is off by one", "causality", Strategy(lambda x, t, rate: _decayed(x, _gaps(t), rate, ahead=1))
    ),
    "last_looks_ahead": Control(
        46, "a thousandth of the last step reaches back", "causality", Strategy(_last_looks_ahead)
    ),
    "gradient_looks_ahead": Control(
        46, "later inputs get gradients for earlier outputs", "causality", Strategy(_gradient_looks_ahead)
    ),
    "by_index": Control(47, "time differences from the index", "values", Strategy(_by_index)),
}
STRATEGIES = {"sound": reference, **{name: control.strategy for name, control in CONTROLS.items()}}
