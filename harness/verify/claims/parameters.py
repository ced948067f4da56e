"""Claims about registering, replacing and freezing parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.verify.claims.claim import Claim, Fact


def tensor_is_parameter() -> list[Fact]:
    """A tensor attribute with `requires_grad=True` is trained, saved and converted like an `nn.Parameter`."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.tensor(3.0, requires_grad=True)
            self.bias = nn.Parameter(torch.tensor(1.0))

    layer = Scale()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    (4 * layer.weight + layer.bias).backward()
    optimizer.step()
    names, saved = [n for n, _ in layer.named_parameters()], list(layer.state_dict())
    dtype = layer.to(torch.float64).weight.dtype
    return [
        Fact(f"named_parameters(): {names}", agrees="weight" in names),
        Fact(f"state_dict(): {saved}", agrees="weight" in saved),
        Fact(f"a step takes it from 3.0 to {layer.weight.item()}", agrees=layer.weight.item() != 3),
        Fact(f"its dtype after .to(torch.float64): {dtype}", agrees=dtype == torch.float64),
        Fact(f"backward() filled its .grad all the same: {layer.weight.grad}"),
    ]


def list_registers() -> list[Fact]:
    """Parameters in a Python list or dict belong to the module."""

    class Layer(nn.Module):
        def __init__(self, container: Callable[[nn.Parameter], object]) -> None:
            super().__init__()
            self.weights = container(nn.Parameter(torch.tensor(3.0)))

    def found(container: Callable[[nn.Parameter], object]) -> int:
        return len(list(Layer(container).parameters()))

    in_list, in_dict = found(lambda weight: [weight]), found(lambda weight: {"weight": weight})
    registered = found(lambda weight: nn.ParameterList([weight]))
    return [
        Fact(f"parameters() of a module with one in a list: {in_list}", agrees=in_list == 1),
        Fact(f"with one in a dict: {in_dict}", agrees=in_dict == 1),
        Fact(f"with one in an nn.ParameterList: {registered}"),
    ]


def cut_is_noticed() -> list[Fact]:
    """Torch tells when `.data`, `.detach()` or `no_grad` in a forward cuts a weight off."""

    def under_no_grad(weight: Tensor) -> Tensor:
        with torch.no_grad():
            return 1 * weight

    cuts: dict[str, Callable[[Tensor], Tensor]] = {
        "`.data`": lambda weight: weight.data,
        "`.detach()`": lambda weight: weight.detach(),
        "`no_grad`": under_no_grad,
    }
    facts = []
    for name, cut in cuts.items():
        weight, bias = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(1.0))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            (4 * cut(weight) + bias).backward()
        gradients = f"weight.grad {weight.grad}, bias.grad {bias.grad}"
        facts.append(Fact(f"{name}, beside a bias: {gradients}, warnings: {len(seen)}", agrees=len(seen) > 0))
    try:
        (4 * nn.Parameter(torch.tensor(3.0)).detach()).backward()
        error = "none"
    except RuntimeError as raised:
        error = f"{raised}"
    return [*facts, Fact(f"nothing else to train: error: {error}", agrees=error != "none")]


def replaced_weight_is_followed() -> list[Fact]:
    """However a weight is replaced while training, the optimizer goes on with the one that the module holds."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(3.0))

    def copied(layer: Scale) -> None:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(7.0))

    def data_assigned(layer: Scale) -> None:
        layer.weight.data = torch.tensor(7.0)

    def parameter_assigned(layer: Scale) -> None:
        layer.weight = nn.Parameter(torch.tensor(7.0))

    def weight_after(replace: Callable[[Scale], None]) -> float:
        layer = Scale()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        replace(layer)
        (4 * layer.weight).backward()
        optimizer.step()
        return layer.weight.item()

    in_place, data, new = weight_after(copied), weight_after(data_assigned), weight_after(parameter_assigned)
    return [
        Fact(f"`copy_` under no_grad: 7.0 → {in_place} in a step", agrees=in_place != 7),
        Fact(f"`weight.data = …`: 7.0 → {data}", agrees=data != 7),
        Fact(f"`layer.weight = nn.Parameter(…)`: 7.0 → {new}", agrees=new != 7),
    ]


def freezing_is_immediate() -> list[Fact]:
    """`requires_grad_(False)` freezes a weight at once."""

    def weight_after(clear_first: bool) -> float:
        weight = nn.Parameter(torch.tensor(3.0))
        optimizer = torch.optim.SGD([weight], lr=0.5)
        (4 * weight).backward()
        weight.requires_grad_(False)
        if clear_first:
            optimizer.zero_grad()
        optimizer.step()
        return weight.item()

    left, cleared = weight_after(False), weight_after(True)
    return [
        Fact(f"an old gradient is still in .grad: 3.0 → {left} in the next step", agrees=left == 3),
        Fact(f"after zero_grad(): 3.0 → {cleared}", agrees=cleared == 3),
    ]


CLAIMS = (
    Claim(
        "tensor-is-parameter",
        tensor_is_parameter,
        (False, False, False, False),
        "Use `nn.Parameter` for what is trained and `register_buffer` for what is not: both are saved and converted.",
    ),
    Claim(
        "list-registers",
        list_registers,
        (False, False),
        "A module sees parameters, modules and buffers that are its attributes, not those inside Python containers. "
        "Use `nn.ParameterList`, `nn.ParameterDict`, `nn.ModuleList`, `nn.ModuleDict`.",
    ),
    Claim(
        "cut-is-noticed",
        cut_is_noticed,
        (False, False, False, True),
        "One other trainable tensor is enough to silence the error. After the first backward, look for parameters "
        "whose `.grad` is None.",
    ),
    Claim(
        "replaced-weight-is-followed",
        replaced_weight_is_followed,
        (True, True, False),
        "The optimizer holds the tensors that it was given. Overwrite a weight in place (`copy_` under `no_grad`, "
        "`load_state_dict`), or build the optimizer anew.",
    ),
    Claim(
        "freezing-is-immediate",
        freezing_is_immediate,
        (False, True),
        "The optimizer looks at `.grad`, not at `requires_grad`. Set `.grad` to None as well, as `zero_grad()` does.",
    ),
)
