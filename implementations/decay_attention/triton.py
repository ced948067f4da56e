"""Triton kernels for forward and backward: online softmax, nothing of size T × T is ever stored.

The forward keeps the output and a log-sum-exp for each row, 4 bytes × B·H·T beside the output (8 in float64); with 16
bits also what rounding took from the output, 2 bytes × B·H·T·D: without it Σ_d y g, and with it the gradients of
amplitude and rate, were further off than autograd's. The decay is computed from the time stamps where it is used. The
backward computes the probabilities again from the log-sum-exp, once for dL/dk and dL/dv (a program owns a tile of
keys) and once for dL/dq (a tile of queries); the second also writes one row of partial sums for amplitude and rate,
which are added after: no atomics, so results repeat bit for bit. Tiles in the future are skipped, those on the diagonal
alone are masked, and what is frozen costs nothing. Wins where T is long: memory is O(T), and the only traffic is that
of the operands. Accumulators are float32 (float64 for float64 inputs); float32 products are exact ones
(``input_precision="ieee"``). See ``_kernels.py``.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; ``vmap`` folds into the
batch, and amplitude and rate have an axis V of their own for it. There is no second derivative: asking for one raises.
"""

import inspect
from typing import Any

import torch
import triton
from torch import Tensor

from harness import Dims, Kernel, Strategy, Style, Tuning, launch_table, target_of

from ._kernels import delta_kernel, forward_kernel, key_kernel, query_kernel

Forward = tuple[Tensor, Tensor, Tensor]
FORWARD, DELTA, KEY, QUERY = (launch_table(__file__, f"{name}_kernel") for name in ("forward", "delta", "key", "query"))


def _launch(table: Any, x: Tensor) -> dict[str, Any]:
    """What a kernel is launched with on operands like x [..., D]."""
    D = x.shape[-1]
    return {"D": D, "BLOCK_D": max(16, triton.next_power_of_2(D)), **table.find(target_of(x.device), x.dtype, D)}


def _widen(x: Tensor) -> bool:
    """Whether the interpreter needs help: it multiplies bfloat16 wrongly."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_forward", mutates_args=())
def run_forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Forward:
    """q, k, v [N, H, T, D], t [N, T], amplitude, rate [V, H] with V dividing N.

    Returns:
        y [N, H, T, D]; what rounding took from it, of its shape where its dtype has 16 bits, else [N, 0]; and
        log₂-sum-exp₂ [N, H, T].
    """
    N, H, T, _ = q.shape
    y, rest, sums = _outputs_like(q)
    if q.numel():
        launch = _launch(FORWARD, q)
        operands = [x.contiguous() for x in (q, k, v, t, amplitude, rate)]
        forward_kernel[(triton.cdiv(T, launch["BLOCK_M"]) * N * H,)](
            *operands,
            y,
            rest,
            sums,
            T,
            H,
            N // amplitude.shape[0],
            REST=q.element_size() == 2,
            WIDEN=_widen(q),
            **launch,
        )
    return y, rest, sums


def _outputs_like(q: Tensor) -> Forward:
    rest = q.shape if q.element_size() == 2 else (*q.shape[:1], 0)
    wide = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty(rest), q.new_empty(q.shape[:-1], dtype=wide)


@run_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Forward:
    return _outputs_like(q)


def _fold(size: int, dims: tuple[int | None, ...], operands: tuple[Tensor, ...]) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own first axis: [size * N, ...]."""
    spread = (x.expand(size, *x.shape) if d is None else x.movedim(d, 0) for x, d in zip(operands, dims, strict=True))
    return [x.flatten(0, 1) for x in spread]


@run_forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *operands: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    found = run_forward(*_fold(info.batch_size, dims, operands))
    return tuple(x.unflatten(0, (info.batch_size, -1)) for x in found), (0, 0, 0)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_backward", mutates_args=())
def run_backward(
    q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor, y: Tensor, rest: Tensor,
    sums: Tensor, g: Tensor,
    need_q: bool, need_k: bool, need_v: bool, need_amplitude: bool, need_rate: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v, amplitude and rate; [V, 0] for those that are not needed."""
    N, H, T, _ = q.shape
    needs = (need_q, need_k, need_v, need_amplitude, need_rate)
    dq, dk, dv, da, dr = _gradients_like(q, k, v, amplitude, rate, needs)
    if not q.numel():
        return dq, dk, dv, da.zero_(), dr.zero_()
    q, k, v, t, amplitude, rate, g = (x.contiguous() for x in (q, k, v, t, amplitude, rate, g))
    y, rest, sums = (x.contiguous() for x in (y, rest, sums))
    delta = torch.empty_like(sums)
    if needs != (False, False, True, False, False):
        launch = _launch(DELTA, q)
        delta_kernel[(triton.cdiv(N * H * T, launch["BLOCK_M"]),)](
            y, rest, g, delta, N * H * T, REST=q.element_size() == 2, **launch
        )
    sizes = (T, H, N // amplitude.shape[0])
    operands = (q, k, v, t, amplitude, rate, g, sums, delta)
    if need_k or need_v:
        launch = _launch(KEY, q)
        key_kernel[(triton.cdiv(T, launch["BLOCK_N"]) * N * H,)](
            *operands, dk, dv, *sizes, NEED_K=need_k, NEED_V=need_v, WIDEN=_widen(q), **launch
        )
    if need_q or need_amplitude or need_rate:
        launch = _launch(QUERY, q)
        tiles = triton.cdiv(T, launch["BLOCK_M"])
        partials = sums.new_empty((N, H, tiles, 2))
        query_kernel[(tiles * N * H,)](
            *operands, dq, partials, *sizes, NEED_Q=need_q, NEED_A=need_amplitude, NEED_R=need_rate,
            WIDEN=_widen(q), **launch,
        )  # fmt: skip
        both = partials.sum(2).unflatten(0, (amplitude.shape[0], -1)).sum(1)  # [V, H, 2]
        da = both[..., 0].to(amplitude.dtype, copy=True) if need_amplitude else da
        dr = both[..., 1].to(rate.dtype, copy=True) if need_rate else dr
    return dq, dk, dv, da, dr


def _gradients_like(
    q: Tensor, k: Tensor, v: Tensor, amplitude: Tensor, rate: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor, ...]:
    none = (amplitude.shape[0], 0)
    operands = (q, k, v, amplitude, rate)
    return tuple(x.new_empty(x.shape if need else none) for x, need in zip(operands, needs, strict=True))


@run_backward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _gradients_like(q, k, v, amplitude, rate, rest[4:])


@run_backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *operands: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    found = run_backward(*_fold(info.batch_size, dims[:10], operands[:10]), *operands[10:])
    return tuple(x.unflatten(0, (info.batch_size, -1)) for x in found), (0,) * 5


class Gradients(torch.autograd.Function):
    """What ``DecayAttention`` returns backward, as a Function of its own, so that deriving it again is an error."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor, y: Tensor, rest: Tensor,
        sums: Tensor, g: Tensor, need_q: bool, need_k: bool, need_v: bool, need_amplitude: bool, need_rate: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        dq, dk, dv, da, dr = run_backward(
            q, k, v, t, amplitude[None], rate[None], y, rest, sums, g,
            need_q, need_k, need_v, need_amplitude, need_rate,
        )  # fmt: skip
        return dq, dk, dv, da[0], dr[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *of_gradients: Tensor) -> Any:
        raise RuntimeError("these Triton kernels have no second derivative: use a strategy made of PyTorch's ops")


class DecayAttention(torch.autograd.Function):
    """q, k, v [N, H, T, D], t [N, T], amplitude, rate [H] -> what ``run_forward`` gives."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Forward:
        return run_forward(q, k, v, t, amplitude[None], rate[None])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Forward) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        need_q, need_k, need_v, _, need_amplitude, need_rate = ctx.needs_input_grad
        needs = (need_q, need_k, need_v, need_amplitude, need_rate)
        found = Gradients.apply(*ctx.saved_tensors, g, *needs)
        dq, dk, dv, da, dr = (x if need else None for x, need in zip(found, needs, strict=True))
        return dq, dk, dv, None, da, dr


# apply reads the signature anew at every call, unless it is kept here
for function in (DecayAttention, Gradients):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    if torch.is_autocast_enabled(q.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(q.device.type)
        q, k, v = (x if x.dtype == torch.float64 else x.to(narrow) for x in (q, k, v))
    shape = q.shape
    if q.dim() != 4:
        q, k, v, t = (*(x.flatten(0, -4) for x in (q, k, v)), t.flatten(0, -2))
    y: Tensor = DecayAttention.apply(q, k, v, t, amplitude, rate)[0]
    return y.view(shape)


TYPES = {"bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}
SPILLS = ("float64", 128)
"""A few words of the query kernel; only checks are so wide."""


def _signature(dtype: str, D: int, launch: Any, outputs: dict[str, str], *needs: str) -> dict[str, Any]:
    """Of a kernel for the ahead-of-time gate: names that it does not take are left out there."""
    t, wide = TYPES[dtype], "*fp64" if dtype == "float64" else "*fp32"
    operands = dict.fromkeys(("q", "k", "v", "amplitude", "rate", "y", "rest", "g"), f"*{t}")
    sizes = dict.fromkeys(("T", "H", "share", "rows"), "i32")
    blocks = {"D": D, "BLOCK_D": D, "WIDEN": False, "REST": t == "bf16"}
    blocks |= {name: value for name, value in launch.items() if name.isupper()}
    rest = dict.fromkeys(("t", "sums", "delta"), wide) | outputs | dict.fromkeys(needs, True)
    return {f"{t} D={D}": {**operands, **sizes, **blocks, **rest}}


def _kernels() -> list[Kernel]:
    """Every row that is for some dtypes; and one for all of them, where no row for any target is for some."""
    found = []
    for function, passed, table, outputs, needs in (
        (delta_kernel, "backward", DELTA, (), ()),
        (forward_kernel, "forward", FORWARD, (), ()),
        (key_kernel, "backward", KEY, ("dk", "dv"), ("NEED_K", "NEED_V")),
        (query_kernel, "backward", QUERY, ("dq", "partials"), ("NEED_Q", "NEED_A", "NEED_R")),
    ):
        whole = not any(row.dtypes for row in table.rows if row.target == "any")
        for row in table.rows:
            dtypes = () if row.target == "interpreter" else row.dtypes or (tuple(TYPES) if whole else ())
            for dtype in dtypes:
                D = row.up_to or 128
                if dtype not in TYPES or ((dtype, D) == SPILLS and not whole):
                    continue
                wide = "*fp64" if dtype == "float64" else "*fp32"
                kinds = {name: wide if name == "partials" else f"*{TYPES[dtype]}" for name in outputs}
                options = {name: value for name, value in row.config.items() if name.islower()}
                signatures = _signature(dtype, D, row.config, kinds, *needs)
                targets = () if row.target == "any" else (row.target,)
                found.append(Kernel(function, (passed,), signatures, options, targets))  # type: ignore[arg-type]
    return found


def _head(dims: Dims) -> int:
    return dims["D"]


def _query_candidates(D: int, dtype: str) -> list[dict[str, int]]:
    """BLOCK_N divides BLOCK_M. Float32 products have no tensor cores, so every factor passes through registers."""
    narrow = dtype in ("bfloat16", "float16")
    tiles = ((64, 16), (64, 32), (64, 64), (128, 32), (128, 64)) if narrow else ((16, 16), (32, 32), (64, 32))
    return [
        {"BLOCK_M": long, "BLOCK_N": short, "FAST": int(narrow), "num_warps": warps, "num_stages": stages}
        for long, short in tiles
        for warps in (4, 8)
        for stages in ((1, 2, 3) if narrow else (1, 2))
    ]


def _key_candidates(D: int, dtype: str) -> list[dict[str, int]]:
    """BLOCK_M divides BLOCK_N."""
    found = _query_candidates(D, dtype)
    return [{**launch, "BLOCK_M": launch["BLOCK_N"], "BLOCK_N": launch["BLOCK_M"]} for launch in found]


def _delta_candidates(D: int, dtype: str) -> list[dict[str, int]]:
    return [{"BLOCK_M": rows, "num_warps": warps} for rows in (16, 32, 64, 128) for warps in (2, 4, 8)]


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=tuple(_kernels()),
    tunings=(
        Tuning(FORWARD, "forward", _head, _query_candidates),
        Tuning(DELTA, "backward", _head, _delta_candidates),
        Tuning(KEY, "backward", _head, _key_candidates),
        Tuning(QUERY, "backward", _head, _query_candidates),
    ),
    style=Style("#E69F00", "X", "-"),
)
