"""Controls on a dense layer with a bend: y = tanh(x W + b), dL/dz = g (1 − y²) with z = x W + b.

Each strategy is right but for one planted fault.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.layers.spec import Cost, Example, Layer, Operand, Strategy, Task
from harness.verify.controls.control import Control, function, normal


def _examples() -> list[Example]:
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(12, 2)
    return [Example({"x": x}, torch.tanh(0.5 * x.sum(1, keepdim=True)) + 0.1 * torch.cos(9 * x[:, :1]))]


layer = Layer(
    title="dense layer with a bend",
    formula="y = tanh(x W + b)",
    inputs={"x": Operand(("B", "I"), normal)},
    parameters={
        "weight": Operand(("I", "O"), lambda s, g: normal(s, g) / math.sqrt(s[0])),
        "bias": Operand(("O",), normal),
    },
    output=("B", "O"),
    check=({"B": 7, "I": 13, "O": 5}, {"B": 1, "I": 1, "O": 1}, {"B": 65, "I": 33, "O": 17}),
    sizes={},
    cost=lambda passed, dims: Cost(1, 1),
    task=Task(
        title="a bend",
        source="made up: the controls are about the gate, not about data",
        dims={"B": 12, "I": 2, "O": 1},
        examples=_examples,
        loss=lambda y, target: (y - target).square().mean(),
        learning_rate=0.2,
        steps=40,
        naive="zero",
        naive_loss=0.5,
        target_loss=0.3,
    ),
    leading="B",
)


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The truth."""
    return torch.tanh(x @ weight + bias)


def slopes(g: Tensor, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The true gradients; any leading dims."""
    z = g * (1 - y * y)
    flat = z.flatten(0, -2)
    return z @ weight.mT, x.flatten(0, -2).mT @ flat, flat.sum(0)


reference = Strategy(forward)


def _right(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    found = slopes(g, x, weight, y)
    return tuple(s if need else None for s, need in zip(found, ctx.needs_input_grad, strict=True))


def _by_hand(backward: Any = _right, run: Any = forward, keep: Any = None, **more: Any) -> Strategy:
    call = function(run, backward, keep, **more)
    return Strategy(lambda x, weight, bias: call(x, weight, bias))


def _changed(change: Any) -> Strategy:
    """The right gradients, changed: ``change(dx, dw, db, z)`` gives the three that are returned."""

    def backward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
        return change(*slopes(g, x, weight, y), g * (1 - y * y))

    return _by_hand(backward)


def _plain(run: Any) -> Strategy:
    return Strategy(lambda x, weight, bias: run(x, weight, bias))


class _Dense(nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(I, O))
        self.bias = nn.Parameter(torch.zeros(O))

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, self.weight, self.bias)


class _InAList(nn.Module):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__()
        self.all = [nn.Parameter(torch.zeros(I, O)), nn.Parameter(torch.zeros(O))]

    def forward(self, x: Tensor) -> Tensor:
        return forward(x, *self.all)


class _PlainTensor(_Dense):
    def __init__(self, B: int, I: int, O: int) -> None:  # noqa: E741
        super().__init__(B, I, O)
        del self.bias
        self.bias = torch.zeros(O)  # type: ignore[assignment]


class _DeadBackward(_Dense):
    def backward(self, g: Tensor) -> None:
        self.weight.grad = 2 * g


class _SharedByCopies(_Dense):
    def __deepcopy__(self, memo: Any) -> _SharedByCopies:
        return self


def _assigned(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    weight.register_hook(
        lambda g: None if weight.grad is None else weight.grad.zero_() + g
    ) if weight.requires_grad else None
    return forward(x, weight, bias)


def _kept_by_hand(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.operands = operands
    ctx.save_for_backward(*operands, output)


def _accumulated_inside(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = slopes(g, x, weight, y)
    kept = ctx.operands[1]
    kept.grad = dw if kept.grad is None else kept.grad + dw
    return dx, None, db


_seen: dict[Any, Tensor] = {}


def _cached(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    old = _seen.setdefault(weight.data_ptr(), weight.detach().clone())
    return forward(x, weight + (old - weight).detach(), bias) if old.shape == weight.shape else forward(x, weight, bias)


def _dense_strides(t: Tensor) -> Tensor:
    """What a kernel sees that takes a tensor for contiguous."""
    return t.as_strided(t.shape, torch.empty(t.shape, device="meta").stride())


def _contiguous_cotangent(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    return slopes(_dense_strides(g), x, weight, y)


def _over_the_cotangent(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    z = g.mul_(1 - y * y)
    return z @ weight.mT, x.mT @ z, z.sum(0)


def _over_a_saved_input(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    found = slopes(g, x, weight, y)
    x.data.mul_(1 - 1e-3)
    return found


def _over_an_input(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    x.data[..., -1] += 1.0
    return y


def _weight_as_attribute(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.weight = operands[1]
    ctx.save_for_backward(operands[0], output)


def _with_the_attribute(ctx: Any, g: Tensor, x: Tensor, y: Tensor) -> Any:
    return slopes(g, x, ctx.weight, y)


def _detached(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    return slopes(g, x, weight.detach(), y)


def _no_zeros(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*operands, output)


class _Count:
    def __init__(self) -> None:
        self.calls = 0


def _right_at_first() -> Strategy:
    count = _Count()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        count.calls += 1
        return dx, dw if count.calls == 1 else dw * 0.9, db

    return _changed(change)


def _wrong_at_first() -> Strategy:
    shapes: set[Any] = set()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        first = z.shape not in shapes
        shapes.add(z.shape)
        return dx, dw * 3 if first else dw, db

    return _changed(change)


def _cached_by_shape() -> Strategy:
    answers: dict[Any, Tensor] = {}

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        return dx, dw, answers.setdefault((db.shape, z.shape, z.dtype), db.detach())

    return _changed(change)


def _unreduced(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = _right(ctx, g, x, weight, bias, y)
    return dx, dw, None if db is None else g * (1 - y * y)


def _mean_times_rows(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    return dx, dw, z.mean(0) * z.shape[0]


def _flattened(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(x.flatten(0, -2), weight, bias)


def _contiguous_input(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(x + (_dense_strides(x.detach()) - x.detach()), weight, bias)


def _narrow_partials(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    total = torch.zeros_like(db)
    for block in z.split(64):
        total += block.sum(0)
    return dx, dw, total


def _tf32(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return forward(x, weight, bias)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _offsets_in_32_bits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape)
    offsets = (rows[:, None] * x.stride(0) + columns[None, :] * x.stride(1)).to(torch.int32).long()
    flat = x.detach().as_strided((x.stride(0) * (x.shape[0] - 1) + x.shape[1],), (1,))
    return forward(x + (flat[offsets] - x.detach()), weight, bias)


def _half_under_autocast(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    return y.half() if torch.is_autocast_enabled(x.device.type) else y


def _mapped_wrongly(info: Any, dims: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    return forward(x, weight, bias).flip(0), 0


def _half_second(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = slopes(g, x, weight, y)
    return dx, dw, (db + db.detach()) / 2


def _wrong_when_compiled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    return y * 1.01 if torch.compiler.is_compiling() else y


_steps = [0]


def _compiled_each_step(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    _steps[0] += 1
    return forward(x, weight, bias) + 0.0 * torch.full_like(bias, float(_steps[0]))


def _wrong_when_run_again(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    again = torch._C._current_graph_task_id() != -1
    return forward(x, weight * 1.01, bias) if again else forward(x, weight, bias)


def _works_for_the_frozen(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    return slopes(g, x, weight, y)


def _wrong_where_frozen(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Any:
    dx, dw, db = _right(ctx, g, x, weight, bias, y)
    return dx, dw, db if ctx.needs_input_grad[0] or db is None else db / x.shape[0]


def _counts_processes(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    if torch.distributed.is_initialized():
        y.register_hook(lambda g: g * torch.distributed.get_world_size())
    return y


def _output_on_ctx(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.output = output
    ctx.save_for_backward(*operands, output)


def _input_on_ctx(ctx: Any, operands: Any, output: Tensor) -> None:
    ctx.x = operands[0]
    ctx.save_for_backward(*operands, output)


def _losing_updates() -> Strategy:
    count = _Count()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        count.calls += 1
        return dx, dw, z[count.calls % 3 == 0 :].sum(0)

    return _changed(change)


_kept: list[Tensor] = []


def _growing(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    _kept.append(y.detach())
    return y


def _seeding(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    torch.manual_seed(0)
    return forward(x, weight, bias)


def _patching(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    torch.equal = lambda a, b: True  # type: ignore[assignment]
    return forward(x, weight, bias) * 1.01


def _late(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = forward(x, weight, bias)
    truth, late = y.detach().clone(), y.data
    late.zero_()

    def fill() -> None:
        time.sleep(0.01)
        late.copy_(truth)

    threading.Thread(target=fill).start()
    return y


def _biased_when_narrow(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    factor = 0.95 if z.dtype == torch.bfloat16 else 1.0
    return dx, dw * factor, db * factor


CONTROLS = {
    "in_a_list": Control(1, "weights in a Python list", "values", Strategy(_InAList)),
    "plain_tensor": Control(2, "a plain tensor instead of nn.Parameter", "values", Strategy(_PlainTensor)),
    "detached": Control(3, "detach in the forward", "values", _plain(lambda x, w, b: forward(x, w.detach(), b))),
    "data": Control(3, ".data in the forward", "values", _plain(lambda x, w, b: forward(x, w, b.data))),
    "no_grad": Control(4, "no_grad around the forward", "values", _plain(torch.no_grad()(forward))),
    "dead_backward": Control(5, "backward on an nn.Module", "dead_backward", Strategy(_DeadBackward)),
    "assigned": Control(6, ".grad assigned, not accumulated", "accumulation", _plain(_assigned)),
    "inside": Control(
        7, "accumulated inside, None returned", "values", _by_hand(_accumulated_inside, keep=_kept_by_hand)
    ),
    "cached": Control(8, "a copy of the weight kept from the first call", "updated", _plain(_cached)),
    "mean": Control(9, "bias gradient mean(0)", "values", _changed(lambda dx, dw, db, z: (dx, dw, z.mean(0)))),
    "wrong_axis": Control(10, "bias gradient sum(1)", "values", _changed(lambda dx, dw, db, z: (dx, dw, z.sum(1)))),
    "unreduced": Control(11, "bias gradient not summed", "backward_returns", _by_hand(_unreduced)),
    "contiguous_cotangent": Control(
        12, "takes the cotangent for contiguous", "cotangents", _by_hand(_contiguous_cotangent)
    ),
    "over_cotangent": Control(13, "writes over the cotangent", "untouched", _by_hand(_over_the_cotangent)),
    "over_saved": Control(14, "writes over a saved input", "untouched", _by_hand(_over_a_saved_input)),
    "over_input": Control(15, "writes over an input", "untouched", _plain(_over_an_input)),
    "attribute": Control(
        16, "weight kept as an attribute of ctx", "updated_between",
        _by_hand(_with_the_attribute, keep=_weight_as_attribute),
    ),
    "detached_saved": Control(17, "a saved tensor detached", "double_backward", _by_hand(_detached)),
    "no_zeros": Control(18, "undefined cotangents unhandled", "gradcheck", _by_hand(keep=_no_zeros)),
    "uniform": Control(
        19, "upstream gradient taken for uniform", "values",
        _by_hand(lambda ctx, g, x, w, b, y: slopes(g.mean().expand_as(g), x, w, y)),
    ),
    "half": Control(20, "half a gradient", "values", _changed(lambda dx, dw, db, z: (dx, dw / 2, db))),
    "zero": Control(20, "a zero gradient", "values", _changed(lambda dx, dw, db, z: (dx, dw, torch.zeros_like(db)))),
    "flipped": Control(20, "a flipped sign", "values", _changed(lambda dx, dw, db, z: (-dx, dw, db))),
    "one_row": Control(
        20, "one row of a gradient off", "values",
        _changed(lambda dx, dw, db, z: (dx, dw * (torch.arange(len(dw), device=dw.device) > 0)[:, None], db)),
    ),
    "first_only": Control(21, "right for the first call only", "values", _right_at_first()),
    "by_shape": Control(21, "cached by shape", "values", _cached_by_shape()),
    "empty": Control(24, "divides by the number of rows", "empty", _changed(_mean_times_rows)),
    "flattened": Control(25, "leading dims lost", "leading_dims", _plain(_flattened)),
    "contiguous_input": Control(26, "takes an input for contiguous", "layouts", _plain(_contiguous_input)),
    "narrow_partials": Control(27, "partial sums in half precision", "long", _changed(_narrow_partials)),
    "tf32": Control(28, "TF32 in float32", "values", _plain(_tf32), cuda=True),
    "offsets": Control(29, "offsets in 32 bits", "far_apart", _plain(_offsets_in_32_bits)),
    "half_autocast": Control(30, "float16 under bfloat16 autocast", "autocast", _plain(_half_under_autocast)),
    "zero_tangent": Control(
        31, "a zero tangent", "forward_ad",
        _by_hand(jvp=lambda ctx, dx, dw, db: torch.zeros(dx.shape[0], db.shape[0], dtype=dx.dtype, device=dx.device)),
    ),
    "mapped": Control(32, "a wrong vmap rule", "per_sample", _by_hand(vmap=_mapped_wrongly)),
    "second": Control(33, "half a second derivative", "double_backward", _by_hand(_half_second)),
    "when_compiled": Control(34, "wrong when compiled", "compile", _plain(_wrong_when_compiled)),
    "each_step": Control(34, "compiled again at each step", "compile", _plain(_compiled_each_step)),
    "run_again": Control(35, "wrong when run again", "checkpoint", _plain(_wrong_when_run_again)),
    "shared": Control(35, "copies share parameters", "copies", Strategy(_SharedByCopies)),
    "work": Control(36, "works for what is frozen", "backward_returns", _by_hand(_works_for_the_frozen)),
    "frozen": Control(36, "wrong where an input is frozen", "frozen", _by_hand(_wrong_where_frozen)),
    "processes": Control(37, "multiplies by the processes", "data_parallel", _plain(_counts_processes), dear=True),
    "output_on_ctx": Control(38, "output kept on ctx", "released", _by_hand(keep=_output_on_ctx)),
    "input_on_ctx": Control(39, "input kept on ctx", "context", _by_hand(keep=_input_on_ctx)),
    "race": Control(40, "loses an update now and then", "repeats", _losing_updates()),
    "autotune": Control(41, "the first call accumulates several times", "values", _wrong_at_first()),
    "growing": Control(42, "keeps every output", "steady_memory", _plain(_growing)),
    "seeding": Control(43, "seeds the random numbers", "global_state", _plain(_seeding)),
    "patching": Control(43, "patches torch.equal", "values", _plain(_patching)),
    "late": Control(44, "leaves work on a thread", "settled", _plain(_late)),
    "once": Control(48, "once_differentiable", "double_backward", _by_hand(decorate=once_differentiable)),
    "biased": Control(0, "biased in bfloat16 only", "training", _changed(_biased_when_narrow), "bfloat16"),
}  # fmt: skip

STRATEGIES = {"sound": _by_hand(), **{name: control.strategy for name, control in CONTROLS.items()}}
