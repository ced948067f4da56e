"""Claims about what trains a layer: its module, autograd, the optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from harness.verify.claims.claim import Claim, Fact


def layer_needs_backward() -> list[Fact]:
    """A layer with registered parameters does not train unless its module defines `backward`."""

    class WeightedSum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).sum()

    layer, x, losses = WeightedSum(), torch.tensor([1.0, 2.0, 2.0]), []
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
    for _ in range(10):
        loss = (layer(x) - 9).square()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    moved = layer.weight.detach().norm().item()
    return [
        Fact(f"the module defines `backward`: {hasattr(layer, 'backward')}"),
        Fact(f"loss in 10 steps: {losses[0]:.3g} → {losses[-1]:.2g}", agrees=not losses[-1] < losses[0] / 100),
        Fact(f"distance that the weight moved: {moved:.2f}", agrees=moved == 0),
    ]


def module_backward_is_called() -> list[Fact]:
    """Autograd calls the `backward` that an `nn.Module` defines."""

    class WeightedSum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).sum()

    class Poisoned(WeightedSum):
        def backward(self, g: Tensor) -> Tensor:
            self.calls += 1
            self.weight.grad = torch.full_like(self.weight, float("nan"))
            return torch.full_like(g, float("nan"))

    def train(layer: WeightedSum) -> Tensor:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
        for _ in range(10):
            optimizer.zero_grad()
            (layer(torch.tensor([1.0, 2.0, 2.0])) - 9).square().backward()
            optimizer.step()
        return layer.weight.detach()

    poisoned = Poisoned()
    same = torch.equal(train(poisoned), train(WeightedSum()))
    return [
        Fact(f"calls of `backward` in 10 steps: {poisoned.calls}", agrees=poisoned.calls > 0),
        Fact(f"weights trained with a `backward` of NaNs and with none, bitwise equal: {same}", agrees=not same),
    ]


def backward_by_hand() -> list[Fact]:
    """Calling a module's own `backward`, which assigns `weight.grad`, does the same as `loss.backward()`."""

    class WeightedSum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([3.0, 5.0]))

        def forward(self, x: Tensor) -> Tensor:
            self.x = x
            return (x * self.weight).sum()

        def backward(self, g: Tensor) -> Tensor:
            self.weight.grad = g * self.x
            return g * self.weight

    one, by_hand, by_autograd = torch.tensor(1.0), WeightedSum(), WeightedSum()
    for micro_batch in (torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])):
        by_autograd(micro_batch).backward()
        by_hand(micro_batch)
        by_hand.backward(one)
    hand, right = f"{by_hand.weight.grad}", f"{by_autograd.weight.grad}"

    by_hand(torch.ones(4, 2))
    try:
        by_hand.backward(one)
        error = "none"
    except RuntimeError as raised:
        error = f"{raised}".partition("\n")[0]

    scale = torch.tensor(2.0, requires_grad=True)
    by_hand(scale * torch.tensor([1.0, 2.0]))
    by_hand.backward(one)
    before = scale.grad
    by_autograd(scale * torch.tensor([1.0, 2.0])).backward()
    return [
        Fact(f"two micro-batches: weight.grad is {hand} by hand, {right} by autograd", agrees=hand == right),
        Fact(f"a batch of 4 rows: error by hand: {error}", agrees=error == "none"),
        Fact(f"in the layer before it, .grad is {before} by hand, {scale.grad} by autograd", agrees=before is not None),
    ]


def gradient_in_function() -> list[Fact]:
    """A gradient of one's own belongs in a `torch.autograd.Function`: its `backward` is what trains."""

    class Product(Function):
        factor, calls = 1.0, 0

        @staticmethod
        def forward(x: Tensor, weight: Tensor) -> Tensor:
            return x * weight

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
            Product.calls += 1
            x, weight = ctx.saved_tensors
            return g * weight, Product.factor * g * x

    def train(multiply: Any) -> Tensor:
        weight = nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.SGD([weight], lr=0.02)
        for _ in range(10):
            optimizer.zero_grad()
            (multiply(torch.tensor([1.0, 2.0, 2.0]), weight).sum() - 9).square().backward()
            optimizer.step()
        return weight.detach()

    plain, right = train(torch.mul), train(Product.apply)
    calls, Product.factor = Product.calls, -1.0
    poisoned = train(Product.apply)
    same, moved = torch.equal(plain, right), torch.dot(plain, poisoned).item()
    return [
        Fact(f"calls of its `backward` in 10 steps: {calls}", agrees=calls == 10),
        Fact(f"weights trained with a right one and with plain autograd, bitwise equal: {same}", agrees=same),
        Fact(f"with its sign flipped, the weight moves the other way: {moved < 0}", agrees=moved < 0),
    ]


def backward_updates_weights() -> list[Fact]:
    """`loss.backward()` updates the weights."""
    weight = nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    before = weight.item()
    (4 * weight).backward()
    after = weight.item()
    optimizer.step()
    return [
        Fact(f"weight before backward(): {before}, after: {after}; its .grad: {weight.grad}", agrees=after != before),
        Fact(f"weight after optimizer.step(): {weight.item()}, right is 3 − 0.5 · 4"),
    ]


def optimizer_takes_gradients() -> list[Fact]:
    """`optimizer.step()` computes the gradients, so it needs the module or its `backward`."""
    weight = nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    loss = (4 * weight).square()
    optimizer.step()
    without = weight.item()
    weight.grad = torch.tensor(4.0)
    optimizer.step()
    return [
        Fact(f"weight after a forward (loss {loss:.0f}) and step(), no backward(): {without}", agrees=without != 3),
        Fact(f"after .grad = 4 by hand and step(): {weight.item()}, right is 3 − 0.5 · 4", agrees=weight.item() != 1),
    ]


CLAIMS = (
    Claim(
        "layer-needs-backward",
        layer_needs_backward,
        (False, False),
        "Write `forward` with torch operations and register the weights as `nn.Parameter`. Autograd derives the rest.",
    ),
    Claim(
        "module-backward-is-called",
        module_backward_is_called,
        (False, False),
        "`backward` is an ordinary method name on a module: nothing calls it, so a bug in it cannot even show. "
        "Delete it.",
    ),
    Claim(
        "backward-by-hand",
        backward_by_hand,
        (False, False, False),
        "Assigning overwrites what earlier backwards accumulated, the formula must reduce over the batch itself, and "
        "the layers before get nothing. Call `loss.backward()` once, on the loss.",
    ),
    Claim(
        "gradient-in-function",
        gradient_in_function,
        (True, True, True),
        "Write `forward`, `setup_context` and `backward`, *return* one gradient for each input of `forward`, and call "
        "`apply` in the module's `forward`, with the weight as an argument.",
    ),
    Claim(
        "backward-updates-weights",
        backward_updates_weights,
        (False,),
        "Backpropagation only fills `.grad`. The weights change in `optimizer.step()`, and only there.",
    ),
    Claim(
        "optimizer-takes-gradients",
        optimizer_takes_gradients,
        (False, False),
        "An optimizer holds a list of tensors, reads their `.grad` and writes their values. It knows no module, no "
        "loss and no graph; where `.grad` is None it skips the tensor.",
    ),
)
