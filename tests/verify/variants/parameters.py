"""Faults in how parameters are held: by modules, leaves and copies."""

from typing import Any

import torch
from torch import Tensor, nn

from harness import Strategy
from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, forward, over_rows, plain, slopes


class _Module(nn.Module):
    def __init__(self, N: int, D: int) -> None:
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(D))

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, self.slope, self.shift)


class _InADict(nn.Module):
    def __init__(self, N: int, D: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(D))
        self.others = {"slope": nn.Parameter(torch.zeros(D))}

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, self.others["slope"], self.shift)


class _Buffer(nn.Module):
    """The state is saved and loaded, but no optimiser ever sees it."""

    def __init__(self, N: int, D: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(D))
        self.register_buffer("shift", torch.zeros(D))

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, self.slope, self.shift)


class _Mixin:
    def backward(self, g: Tensor) -> Tensor:
        return g * 2


class _InheritedBackward(_Mixin, _Module):
    pass


class _LostByPickle(_Module):
    def __reduce__(self) -> Any:
        return _LostByPickle, (1, len(self.slope))


_pools: dict[int, Tensor] = {}


class _OnePool(_Module):
    """All modules of a size keep their numbers in the same memory."""

    def __init__(self, N: int, D: int) -> None:
        super().__init__(N, D)
        self.slope = nn.Parameter(_pools.setdefault(D, torch.zeros(D)))


class _FusedAtConstruction(_Module):
    """A copy that is taken when the module is built, and so before any state is loaded."""

    def __init__(self, N: int, D: int) -> None:
        super().__init__(N, D)
        self.fused = torch.stack([self.slope.detach(), self.shift.detach()])

    def forward(self, x: Tensor) -> Tensor:
        fused = self.fused.to(x)
        return forward(x, self.slope + (fused[0] - self.slope).detach(), self.shift + (fused[1] - self.shift).detach())


def _value_cut(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    return x.detach() * torch.sigmoid(x * slope + shift)


def _gate_of_data(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    return x * torch.sigmoid(x.data * slope + shift)


def _inference(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    with torch.inference_mode():
        return forward(x, slope, shift)


def _last_gradient_only(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    if shift.requires_grad and shift.is_leaf:
        last: list[Tensor] = []
        shift.register_hook(lambda g: last.append(g.clone()))
        shift.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", last[-1]))
    return forward(x, slope, shift)


class _IntoTheLeaf(torch.autograd.Function):
    """Adds to ``.grad`` itself and returns None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, shift: Tensor, leaf: list[Tensor]) -> Tensor:
        ctx.leaf = leaf
        ctx.save_for_backward(x, slope, shift)
        return forward(x, slope, shift)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        (leaf,) = ctx.leaf
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)
        leaf.grad += over_rows(db)
        return dx, over_rows(da), None, None


def _packed_once(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """The packed form hangs on the parameter, so it lives exactly as long; it forgets that numbers change."""
    if not hasattr(slope, "packed"):
        slope.packed = slope.detach().clone()  # type: ignore[attr-defined]
    return forward(x, slope + (slope.packed - slope).detach(), shift)  # type: ignore[attr-defined]


class _DataSaved(Gate):
    """``.data`` has a version counter of its own, so that nobody notices the update."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*(t.data for t in inputs))


class _Stashed(Gate):
    """Saves on the class where ``ctx`` was meant: the next forward takes the place of this one."""

    x: Tensor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        _Stashed.x = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, _Stashed.x, *ctx.saved_tensors)
        need_x, need_slope, need_shift = ctx.needs_input_grad
        return dx if need_x else None, over_rows(da) if need_slope else None, over_rows(db) if need_shift else None


CONTROLS = {
    "in_a_list": Control(1, "a weight in a dict", "values", Strategy(_InADict)),
    "plain_tensor": Control(2, "a buffer instead of a parameter", "values", Strategy(_Buffer)),
    "detached": Control(3, "one path of the input detached", "values", plain(_value_cut)),
    "data": Control(3, ".data of the input in the gate", "values", plain(_gate_of_data)),
    "no_grad": Control(4, "inference_mode around the forward", "values", plain(_inference)),
    "dead_backward": Control(5, "backward inherited by an nn.Module", "dead_backward", Strategy(_InheritedBackward)),
    "assigned": Control(6, ".grad is the last gradient", "accumulation", plain(_last_gradient_only)),
    "inside": Control(
        7, "added to .grad inside, None returned", "values",
        Strategy(lambda x, slope, shift: _IntoTheLeaf.apply(x, slope, shift, [shift])),
    ),
    "cached": Control(8, "a packed copy hangs on the parameter", "updated", plain(_packed_once)),
    "attribute": Control(16, "saves .data", "updated_between", Strategy(lambda x, slope, shift: _DataSaved.apply(x, slope, shift))),
    "shared": Control(35, "pickle loses the numbers", "copies", Strategy(_LostByPickle)),
}  # fmt: skip

MORE = {
    "built": Control(8, "a copy taken at construction", "values", Strategy(_FusedAtConstruction)),
    "stashed": Control(16, "saved on the class instead of ctx", "accumulation", Strategy(lambda x, slope, shift: _Stashed.apply(x, slope, shift))),
    "pool": Control(35, "all modules share their memory", "side_by_side", Strategy(_OnePool)),
}  # fmt: skip
