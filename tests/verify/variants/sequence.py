"""Faults on a causal mean over irregular time stamps: y_i = Σ_{j ≤ i} w_ij x_j / Σ_{j ≤ i} w_ij, w_ij = exp(−r (t_i − t_j))."""

import torch
from torch import Generator, Tensor

from harness import Cost, Example, Layer, Operand, Strategy, Task
from harness.verify.controls.control import Control


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _stamps(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Increasing; most gaps are short and some are long."""
    return torch.rand(shape, generator=generator, device=generator.device).pow(3).add(0.05).cumsum(-1)


def _rate(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 0.5 + torch.rand(shape, generator=generator, device=generator.device)


def mean(x: Tensor, gaps: Tensor, rate: Tensor, visible: Tensor) -> Tensor:
    """x [T, D], gaps [T, T], rate [], visible [T, T] -> [T, D]."""
    weights = torch.exp(-rate * gaps.where(visible, 0)).where(visible, 0)
    return (weights / weights.sum(-1, keepdim=True)) @ x


def _past(t: Tensor) -> Tensor:
    return torch.ones(len(t), len(t), dtype=torch.bool, device=t.device).tril()


def _gaps(t: Tensor) -> Tensor:
    return t[:, None] - t[None, :]


def _right(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    return mean(x, _gaps(t), rate, _past(t))


def _examples() -> list[Example]:
    t = torch.linspace(0, 2, 16, dtype=torch.float64).pow(2)
    x = torch.sin(2 * t)[:, None]
    return [Example({"x": x, "t": t}, _right(x, t, torch.tensor(2.5, dtype=torch.float64)) + 0.02)]


layer = Layer(
    title="causal mean over time stamps",
    formula="y_i = Σ_{j ≤ i} w_ij x_j / Σ_{j ≤ i} w_ij",
    inputs={"x": Operand(("T", "D"), _normal), "t": Operand(("T",), _stamps)},
    parameters={"rate": Operand((), _rate)},
    output=("T", "D"),
    check=({"T": 9, "D": 4}, {"T": 1, "D": 1}, {"T": 19, "D": 5}),
    sizes={},
    cost=lambda passed, dims: Cost(1, 1),
    task=Task(
        title="a mean",
        source="made up",
        dims={"T": 16, "D": 1},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=1.0,
        steps=40,
        naive="zero",
        naive_loss=0.243,
        target_loss=0.02,
    ),
    causal="T",
)

reference = Strategy(lambda x, t, rate: _right(x, t, rate))


def _sound(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    scores = (-rate * _gaps(t)).masked_fill(~_past(t), -torch.inf)
    return torch.softmax(scores, -1) @ x


def _growing(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    return mean(x, _gaps(t).mT, rate, _past(t))


def _sees_the_next(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    index = torch.arange(len(t), device=t.device)
    return mean(x, _gaps(t), rate, index[None, :] - index[:, None] < 2)


def _sum_over_all(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    """The numerator is causal, the denominator is not."""
    weights = torch.exp(-rate * _gaps(t).abs())
    return (weights.where(_past(t), 0) / weights.sum(-1, keepdim=True)) @ x


def _evenly(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    index = torch.arange(len(t), device=t.device, dtype=t.dtype)
    step = (t[-1] - t[0]) / max(1, len(t) - 1)
    return mean(x, _gaps(index) * step, rate, _past(t))


def _block_looks_ahead(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    """The last step of each block of 8 sees a thousandth of the mean of what follows."""
    y = _right(x, t, rate)
    ends = range(7, len(t) - 1, 8)
    more = torch.zeros_like(y)
    for end in ends:
        more[end] = 1e-3
    return y + more * x[8:].mean(0) if len(ends) else y


class _Ahead(torch.autograd.Function):
    """Nothing in the forward; a backward that carries cotangents to the last step."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: Tensor) -> None: ...

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:  # type: ignore[override]
        last = torch.zeros_like(g)
        last[-1] = 1e-3 * g.sum(0)
        return last


def _gradient_of_the_last(x: Tensor, t: Tensor, rate: Tensor) -> Tensor:
    nothing: Tensor = _Ahead.apply(x)
    return _right(x, t, rate) + nothing


CONTROLS = {
    "decay_sign": Control(45, "weights grow with the distance", "values", Strategy(_growing)),
    "mask_off_by_one": Control(46, "sees the next time step", "causality", Strategy(_sees_the_next)),
    "last_looks_ahead": Control(46, "a block's last step looks ahead", "causality", Strategy(_block_looks_ahead)),
    "gradient_looks_ahead": Control(
        46, "the last input gets the gradients of all", "causality", Strategy(_gradient_of_the_last)
    ),
    "by_index": Control(47, "evenly spaced in time", "values", Strategy(_evenly)),
}
MORE = {"sum_over_all": Control(46, "the sum of the weights looks ahead", "causality", Strategy(_sum_over_all))}
STRATEGIES = {
    "sound": Strategy(_sound),
    **{name: control.strategy for name, control in CONTROLS.items()},
    **{name: control.strategy for name, control in MORE.items()},
}
