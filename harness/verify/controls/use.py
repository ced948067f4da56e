"""Controls about shapes, types, transforms, resources and order (faults 24 to 44 and 48)."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.layers.spec import Strategy
from harness.verify.controls.control import Control
from harness.verify.controls.dense_layer import (
    Count,
    Dense,
    by_hand,
    changed,
    dense_strides,
    forward,
    plain,
    right,
    slopes,
)


class _SharedByCopies(Dense):
    def __deepcopy__(self, memo: Any) -> _SharedByCopies:
        return self


def _wrong_at_first() -> Strategy:
    shapes: set[Any] = set()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        first = z.shape not in shapes
        shapes.add(z.shape)
        return dx, dw * 3 if first else dw, db

    return changed(change)


def _mean_times_rows(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    return dx, dw, z.mean(0) * z.shape[0]


def _flattened(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(x.flatten(0, -2), weight, bias)


def _contiguous_input(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return forward(x + (dense_strides(x.detach()) - x.detach()), weight, bias)


def _narrow_partials(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
    total = torch.zeros_like(db)
    for block in z.split(64):
        total += block.sum(0)
    return dx, dw, total


def _tf32(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Padded to sizes that tensor cores take."""
    (rows, terms), columns = x.shape, weight.shape[1]
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        product = F.pad(x, (0, -terms % 64, 0, -rows % 64)) @ F.pad(weight, (0, -columns % 64, 0, -terms % 64))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return torch.tanh(product[:rows, :columns] + bias)


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


def _off_the_tape(info: Any, dims: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    operands = (
        t.detach() if d is None else t.detach().movedim(d, 0) for t, d in zip((x, weight, bias), dims, strict=True)
    )
    x, weight, bias = operands
    return forward(x, weight, bias if dims[2] is None else bias.unsqueeze(-2)), 0


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
    dx, dw, db = right(ctx, g, x, weight, bias, y)
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
    count = Count()

    def change(dx: Tensor, dw: Tensor, db: Tensor, z: Tensor) -> Any:
        count.calls += 1
        return dx, dw, z[count.calls % 3 == 0 :].sum(0)

    return changed(change)


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


def _patching_events(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    torch.cuda.Event.elapsed_time = lambda *_: 1e-3  # type: ignore[method-assign]
    return forward(x, weight, bias)


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


@torch.library.custom_op("layerbench_controls::half_described", mutates_args=())
def _bend(t: Tensor) -> Tensor:
    return torch.tanh(t)


@_bend.register_fake
def _(t: Tensor) -> Tensor:
    return t.new_empty(t.shape, dtype=torch.float64)


class _Described(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        bent: Tensor = _bend(x @ weight + bias)
        return bent

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return right(ctx, g, *ctx.saved_tensors)


def _wrongly_described(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y: Tensor = _Described.apply(x, weight, bias)
    return y


CONTROLS = {
    "described": Control(0, "a custom op that tells the compiler float64", "described", plain(_wrongly_described)),
    "empty": Control(24, "divides by the number of rows", "empty", changed(_mean_times_rows)),
    "flattened": Control(25, "leading dims lost", "leading_dims", plain(_flattened)),
    "contiguous_input": Control(26, "takes an input for contiguous", "layouts", plain(_contiguous_input)),
    "narrow_partials": Control(27, "partial sums in half precision", "long", changed(_narrow_partials)),
    "tf32": Control(28, "TF32 in float32", "values", plain(_tf32), cuda=True),
    "offsets": Control(29, "offsets in 32 bits", "far_apart", plain(_offsets_in_32_bits)),
    "half_autocast": Control(30, "float16 under bfloat16 autocast", "autocast", plain(_half_under_autocast)),
    "zero_tangent": Control(
        31, "a zero tangent", "forward_ad",
        by_hand(jvp=lambda ctx, dx, dw, db: torch.zeros(dx.shape[0], db.shape[0], dtype=dx.dtype, device=dx.device)),
    ),
    "mapped": Control(32, "a wrong vmap rule", "per_sample", by_hand(vmap=_mapped_wrongly)),
    "off_the_tape": Control(52, "a vmap rule that leaves the tape", "through_vmap", by_hand(vmap=_off_the_tape)),
    "second": Control(33, "half a second derivative", "double_backward", by_hand(_half_second)),
    "when_compiled": Control(34, "wrong when compiled", "compile", plain(_wrong_when_compiled)),
    "each_step": Control(
        34, "compiled again at each step", "compile", plain(_compiled_each_step), result="limited"
    ),
    "run_again": Control(35, "wrong when run again", "checkpoint", plain(_wrong_when_run_again)),
    "shared": Control(35, "copies share parameters", "copies", Strategy(_SharedByCopies)),
    "work": Control(
        36, "works for what is frozen", "backward_returns", by_hand(_works_for_the_frozen), result="wasteful"
    ),
    "frozen": Control(36, "wrong where an input is frozen", "frozen", by_hand(_wrong_where_frozen)),
    "processes": Control(37, "multiplies by the processes", "data_parallel", plain(_counts_processes), dear=True),
    "output_on_ctx": Control(38, "output kept on ctx", "released", by_hand(keep=_output_on_ctx)),
    "input_on_ctx": Control(39, "input kept on ctx", "context", by_hand(keep=_input_on_ctx), result="wasteful"),
    "race": Control(40, "loses an update now and then", "repeats", _losing_updates()),
    "autotune": Control(41, "the first call accumulates several times", "values", _wrong_at_first()),
    "growing": Control(42, "keeps every output", "steady_memory", plain(_growing)),
    "seeding": Control(43, "seeds the random numbers", "global_state", plain(_seeding)),
    "patching": Control(43, "patches torch.equal", "values", plain(_patching)),
    "events": Control(59, "patches a timer of torch.cuda", "global_state", plain(_patching_events)),
    "late": Control(44, "leaves work on a thread", "settled", plain(_late)),
    "once": Control(48, "once_differentiable", "double_backward", by_hand(decorate=once_differentiable)),
    "biased": Control(0, "biased in bfloat16 only", "training", changed(_biased_when_narrow), "bfloat16"),
}  # fmt: skip
