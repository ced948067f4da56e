"""Faults in hand-written backwards."""

from typing import Any

import torch
from torch import Tensor

from harness import Strategy
from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, by_hand, forward, over_rows, plain, slopes, wanted, with_slopes


def rows_are_dense(t: Tensor) -> Tensor:
    """What a kernel reads that is given the stride of the rows and takes the columns' for 1; never out of bounds."""
    whole = torch.empty(0, dtype=t.dtype).set_(t.detach().untyped_storage())
    at = t.storage_offset() + torch.arange(t.shape[0])[:, None] * t.stride(0) + torch.arange(t.shape[1])
    return whole[at.clamp_max(len(whole) - 1)]


class _DenseRowsOfTheCotangent(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(rows_are_dense(g) if g.dim() == 2 else g, *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(db))


class _DenseRowsInFloat32(Gate):
    """Plain in float64, as a strategy whose kernel is for float32."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        kind = Gate if g.dtype == torch.float64 else _DenseRowsOfTheCotangent
        return kind.backward(ctx, g)


class _OneBuffer(Gate):
    """Every gradient of the input is written to the same place."""

    buffer = torch.empty(0)

    @classmethod
    def placed(cls, t: Tensor) -> Tensor:
        if (cls.buffer.shape, cls.buffer.dtype) != (t.shape, t.dtype):
            cls.buffer = torch.empty_like(t)
        return cls.buffer.copy_(t)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        return wanted(ctx, _OneBuffer.placed(dx.detach()), over_rows(da), over_rows(db))


def _ungated_without_a_graph(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    return forward(x, slope, shift) if torch.is_grad_enabled() else x


class _IntoTheCotangent(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        s = torch.sigmoid(x * slope + shift)
        straight = g * s
        dz = torch.mul(g, x * s * (1 - s), out=g)
        return wanted(ctx, straight + dz * slope, over_rows(dz * x), over_rows(dz))


class _IntoASavedParameter(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        ctx.saved_tensors[2].detach().numpy()[:] *= 0.5
        return wanted(ctx, dx, over_rows(da), over_rows(db))


class _IntoItsOwnSave(Gate):
    """Keeps s, and puts dL/dz in its place."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, slope, shift = inputs
        ctx.save_for_backward(x, slope, torch.sigmoid(x * slope + shift))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, s = ctx.saved_tensors
        straight, dz = g * s, g * x * s * (1 - s)
        s.detach().numpy()[:] = dz.detach().numpy()
        return wanted(ctx, straight + dz * slope, over_rows(dz * x), over_rows(dz))


def _into_the_input(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y = forward(x, slope, shift)
    x.detach().numpy()[..., 0] = 0
    return y


class _OnesForNone(Gate):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> Any:
        x = ctx.saved_tensors[0]
        dx, da, db = slopes(torch.ones_like(x) if g is None else g, *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(db))


class _FirstRowForAll(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g[:1].expand_as(g), *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(db))


class _HalfOfTheProductRule(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        _, da, db = slopes(g, x, slope, shift)
        return wanted(ctx, g * torch.sigmoid(x * slope + shift), over_rows(da), over_rows(db))


class _SignOfOneTerm(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, shift = ctx.saved_tensors
        s = torch.sigmoid(x * slope + shift)
        dz = g * x * s * (1 - s)
        return wanted(ctx, g * s - dz * slope, over_rows(dz * x), over_rows(dz))


def _last_element_lost(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    dx.view(-1)[-1:] = 0
    return dx, over_rows(da), over_rows(db)


class _FromTheOutput(Gate):
    """Keeps y instead of working s out again, and divides by x to get it back: nothing is left where x is 0."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope, _, y = ctx.saved_tensors
        s = y / x
        dz = g * y * (1 - s)
        return wanted(ctx, g * s + dz * slope, over_rows(dz * x), over_rows(dz))


def _workspace_never_cleared() -> Strategy:
    spaces: dict[Any, Tensor] = {}

    def change(dx: Tensor, da: Tensor, db: Tensor) -> Any:
        space = spaces.setdefault((dx.shape, dx.dtype), torch.zeros_like(over_rows(db)))
        space += over_rows(db).detach()
        return dx, over_rows(da), space.clone()

    return with_slopes(change)


def _gate_kept_by_shape() -> Strategy:
    kept: dict[Any, Tensor] = {}

    def run(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        s = torch.sigmoid(x * slope + shift)
        return x * (s + (kept.setdefault((x.shape, x.dtype), s.detach()) - s).detach())

    return plain(run)


def _tuned_on_the_real_output() -> Strategy:
    best: dict[Any, int] = {}

    def change(dx: Tensor, da: Tensor, db: Tensor) -> Any:
        total = torch.zeros_like(over_rows(da))
        for rows in (1, 2, 4) if dx.shape not in best else (best[dx.shape],):
            for block in da.flatten(0, -2).split(rows):
                total = total + block.sum(0)  # an autotuner runs this for each configuration
        best[dx.shape] = 2
        return dx, total, over_rows(db)

    return with_slopes(change)


def _tilted_in_half(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    return dx, over_rows(da) * (1.05 if da.dtype == torch.bfloat16 else 1.0), over_rows(db)


def _input_tilted_in_half(dx: Tensor, da: Tensor, db: Tensor) -> Any:
    return dx * (1.05 if dx.dtype == torch.bfloat16 else 1.0), over_rows(da), over_rows(db)


def _overflowing(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    grown = torch.exp(x * slope + shift)
    return x * grown / (1 + grown)


class _OnceMore(torch.autograd.Function):
    """Half of something, whose derivative is a constant to whoever differentiates it."""

    @staticmethod
    def forward(t: Tensor) -> Tensor:
        return t / 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, g: Tensor) -> Any:
        return g / 2


CONTROLS = {
    "twice": Control(
        0, "half of a slope may be differentiated once", "third_order",
        with_slopes(lambda dx, da, db: (_OnceMore.apply(dx) + dx / 2, over_rows(da), over_rows(db))),
    ),
    "mean": Control(9, "mean over rows", "values", with_slopes(lambda dx, da, db: (dx, da.flatten(0, -2).mean(0), over_rows(db)))),
    "wrong_axis": Control(
        10, "reshape instead of transpose: the size is right", "values",
        with_slopes(lambda dx, da, db: (dx, over_rows(da), db.reshape(db.shape[-1], -1).sum(1))),
    ),
    "unreduced": Control(11, "not summed over rows", "backward_returns", with_slopes(lambda dx, da, db: (dx, da, over_rows(db)))),
    "contiguous_cotangent": Control(12, "takes the columns' stride for 1", "cotangents", by_hand(_DenseRowsOfTheCotangent)),
    "over_cotangent": Control(13, "out=cotangent", "untouched", by_hand(_IntoTheCotangent)),
    "over_its_own": Control(14, "its workspace is a saved tensor", "walked_twice", by_hand(_IntoItsOwnSave)),
    "over_saved": Control(14, "a saved parameter is halved in place", "untouched", by_hand(_IntoASavedParameter)),
    "over_input": Control(15, "a column of the input is cleared", "untouched", plain(_into_the_input)),
    "no_zeros": Control(18, "ones for a cotangent that is None", "gradcheck", by_hand(_OnesForNone)),
    "uniform": Control(19, "the first row's cotangent for all", "values", by_hand(_FirstRowForAll)),
    "half": Control(20, "half of the product rule", "values", by_hand(_HalfOfTheProductRule)),
    "zero": Control(20, "a zero gradient", "values", with_slopes(lambda dx, da, db: (dx, over_rows(da), over_rows(db.where(db > 1e30, 0))))),
    "flipped": Control(20, "the sign of one term", "values", by_hand(_SignOfOneTerm)),
    "one_row": Control(20, "the last element is lost", "values", with_slopes(_last_element_lost)),
    "first_only": Control(21, "a workspace that is never cleared", "values", _workspace_never_cleared()),
    "by_shape": Control(21, "the gate is kept by shape", "values", _gate_kept_by_shape()),
    "autotune": Control(41, "tuned on the real output", "values", _tuned_on_the_real_output()),
    "biased": Control(0, "tilted in bfloat16 only", "training", with_slopes(_tilted_in_half), "bfloat16"),
}  # fmt: skip

MORE = {
    "dense_in_float32": Control(12, "takes the columns' stride for 1 in float32", "cotangents", by_hand(_DenseRowsInFloat32)),
    "one_buffer": Control(0, "gradients lie in one buffer", "side_by_side", by_hand(_OneBuffer)),
    "without_graph": Control(0, "another output under no_grad", "frozen", plain(_ungated_without_a_graph)),
    "input_biased": Control(0, "the input's gradient tilted in bfloat16 only", "values", with_slopes(_input_tilted_in_half)),
    "overflowing": Control(0, "overflows for large inputs", "magnitudes", plain(_overflowing)),
    "from_the_output": Control(0, "divides by the input, which may be 0", "magnitudes", by_hand(_FromTheOutput)),
}  # fmt: skip
