"""Faults under second derivatives, ``torch.func``, the compiler, checkpoints, frozen operands and processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, by_hand, forward, over_rows, plain, slopes, wanted, with_slopes


class _IntermediateSaved(torch.autograd.Function):
    """Saves what is no input and no output, which a second derivative takes for a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        s = torch.sigmoid(x * slope + shift)
        ctx.save_for_backward(x, slope, s)
        return x * s

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, s = ctx.saved_tensors
        dz = g * x * s * (1 - s)
        return wanted(ctx, g * s + dz * slope, over_rows(dz * x), over_rows(dz))


class _HalfDetached(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        s = torch.sigmoid(x * slope + shift)
        dz = g * x * s * (1 - s.detach())
        return wanted(ctx, g * s + dz * slope, over_rows(dz * x), over_rows(dz))


class _AsRecomputed(Gate):
    """The backward runs the forward again and differentiates it, without a graph of its own."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        with torch.enable_grad():
            operands = [t.detach().requires_grad_() for t in ctx.saved_tensors]
            return wanted(ctx, *torch.autograd.grad(forward(*operands), operands, g))


class _TangentOfTheInputAlone(Gate):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, da: Tensor, db: Tensor) -> Tensor:
        x, slope, shift = ctx.saved_tensors
        s = torch.sigmoid(x * slope + shift)
        return dx * (s + x * s * (1 - s) * slope)


class _MixedUpByVmap(Gate):
    """Rows and samples change places in the output; the gradients don't need it."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Any:
        rows = x.movedim(in_dims[0], 0)  # [V, N, D]
        y = _MixedUpByVmap.apply(rows.flatten(0, 1), slope, shift)
        return y.view(rows.shape[1], rows.shape[0], rows.shape[2]), 1


class _VmapByReshape(Gate):
    """Right where the mapped dim is the first of the inputs; another one would have to be moved."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Any:
        if in_dims[0] is not None:
            x = x.reshape(info.batch_size, *(n for d, n in enumerate(x.shape) if d != in_dims[0] % x.dim()))
        slope, shift = (
            t if d is None else t.movedim(d, 0)[:, None] for t, d in zip((slope, shift), in_dims[1:], strict=True)
        )
        return _VmapByReshape.apply(x, slope, shift), 0


class _VmapWithOneSetOfParameters(Gate):
    """Wrong for an ensemble: the parameters of the first serve all."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Any:
        first = [t if d is None else t.select(d, 0) for t, d in zip((slope, shift), in_dims[1:], strict=True)]
        x = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        return _VmapWithOneSetOfParameters.apply(x, *first), 0


def _mapped(in_dims: Any, *operands: Tensor) -> list[Tensor]:
    """The operands with the mapped dim first, parameters broadcast over rows."""
    x, *parameters = (t if d is None else t.movedim(d, 0) for t, d in zip(operands, in_dims, strict=True))
    return [x, *(p if d is None else p[:, None] for p, d in zip(parameters, in_dims[1:], strict=True))]


class _NoGraphUnderVmap(Gate):
    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Any:
        with torch.no_grad():
            return forward(*_mapped(in_dims, x, slope, shift)), 0


class _SlopeLostUnderVmap(Gate):
    """One operand of three is cut off."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, slope: Tensor, shift: Tensor) -> Any:
        x, slope, shift = _mapped(in_dims, x, slope, shift)
        return forward(x, slope.detach() + 0 * slope, shift), 0


@torch.library.custom_op("layerbench_variants::gate_into", mutates_args=())
def _gate_into(x: Tensor, slope: Tensor, shift: Tensor, target: Tensor) -> None:
    target.copy_(forward(x, slope, shift))


@_gate_into.register_fake
def _(x: Tensor, slope: Tensor, shift: Tensor, target: Tensor) -> None:
    return None


class _UndeclaredMutation(Gate):
    """The operator does not say that it writes, so a compiler may leave it out."""

    @staticmethod
    def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        _gate_into(x, slope, shift, y)
        return y


_history: list[int] = []


def _by_the_length_of_a_list(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    _history.append(x.shape[0])
    return forward(x, slope, shift) * (1.0 + 0.0 * len(_history))


def _seen_before(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """Right for an input that it has not met."""
    before = getattr(x, "visits", 0)
    x.visits = before + 1  # type: ignore[attr-defined]
    return forward(x, slope, shift) if before == 0 else forward(x * 1.001, slope, shift)


class _InputAlways(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        return dx, *wanted(ctx, dx, over_rows(da), over_rows(db))[1:]


class _PlacesLost(Gate):
    """Only the gradients that are wanted, from the left."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        need_x, *rest = ctx.needs_input_grad
        found = [over_rows(d) for d, need in zip((da, db), rest, strict=True) if need]
        return dx if need_x else None, *found, *[None] * (2 - len(found))


def _reduced_twice(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    db = over_rows(db)
    if dist.is_initialized():
        dist.all_reduce(db)
    return dx, over_rows(da), db


@torch.library.custom_op("layerbench_variants::flat", mutates_args=())
def _flat(t: Tensor) -> Tensor:
    return t.flatten().clone()


@_flat.register_fake
def _(t: Tensor) -> Tensor:
    return torch.empty_like(t)


class _FlatWithinAnOp(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(_flat(db.detach()).view(db.shape)))


@torch.library.custom_op("layerbench_variants::if_needed", mutates_args=())
def _if_needed(t: Tensor, need: bool) -> Tensor:
    return t.clone() if need else t.new_empty(0)


@_if_needed.register_fake
def _(t: Tensor, need: bool) -> Tensor:
    return t.new_empty(t.shape if need else (1,))


class _NotNeeded(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        kept = _if_needed(db.detach(), ctx.needs_input_grad[2])
        return wanted(ctx, dx, over_rows(da), over_rows(kept) if ctx.needs_input_grad[2] else kept)


CONTROLS = {
    "described": Control(0, "an op of another shape than it says", "described", by_hand(_FlatWithinAnOp)),
    "detached_saved": Control(17, "saves an intermediate", "double_backward", by_hand(_IntermediateSaved)),
    "zero_tangent": Control(31, "the parameters' tangents left out", "forward_ad", by_hand(_TangentOfTheInputAlone)),
    "off_the_tape": Control(52, "no graph in its vmap rule", "through_vmap", by_hand(_NoGraphUnderVmap)),
    "mapped": Control(32, "rows and samples mixed up", "per_sample", by_hand(_MixedUpByVmap)),
    "second": Control(33, "half detached in the backward", "double_backward", by_hand(_HalfDetached)),
    "when_compiled": Control(34, "an operator that hides that it writes", "compile", by_hand(_UndeclaredMutation)),
    "each_step": Control(34, "depends on the length of a list", "compile", plain(_by_the_length_of_a_list), result="limited"),
    "run_again": Control(35, "wrong for an input that it has met", "checkpoint", plain(_seen_before)),
    "work": Control(36, "the input's gradient always", "backward_returns", by_hand(_InputAlways), result="wasteful"),
    "frozen": Control(36, "gradients lose their places", "frozen", by_hand(_PlacesLost)),
    "processes": Control(37, "sums over processes by itself", "data_parallel", with_slopes(_reduced_twice), dear=True),
    "once": Control(48, "differentiates a recomputed forward", "double_backward", by_hand(_AsRecomputed)),
}  # fmt: skip

MORE = {
    "described_frozen": Control(0, "an op of another shape than it says for what is frozen", "described", by_hand(_NotNeeded)),
    "said_compiled": Control(
        48, "says that it is compiled", "double_backward", by_hand(_AsRecomputed, needs=("compiler",))
    ),
    "slope_lost": Control(52, "one gradient is lost through vmap", "through_vmap", by_hand(_SlopeLostUnderVmap)),
    "other_dim": Control(32, "vmap over another dim", "per_sample", by_hand(_VmapByReshape)),
    "ensemble": Control(32, "vmap over parameters", "per_sample", by_hand(_VmapWithOneSetOfParameters)),
    "thrown_away": Control(
        36, "works for what is frozen and throws it away", "backward_returns",
        with_slopes(lambda dx, da, db: (dx, over_rows(da), over_rows(db))), result="wasteful",
    ),
}  # fmt: skip
