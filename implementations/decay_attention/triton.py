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

from typing import Any

import torch
import triton
from torch import Tensor

from harness import Kernel, Strategy, Style

from ._kernels import delta_kernel, forward_kernel, key_kernel, query_kernel

Forward = tuple[Tensor, Tensor, Tensor]
Launch = tuple[int, int, int, int]
"""Queries and keys in a tile, warps, stages."""

LAUNCHES: dict[tuple[str, int, int], tuple[Launch, Launch, Launch]] = {
    # target, bytes, D ≤    forward           dk and dv         dq
    ("sm_80", 2, 64): ((64, 64, 4, 2), (32, 64, 8, 2), (64, 32, 4, 2)),
    ("sm_80", 2, 128): ((64, 32, 4, 2), (32, 64, 8, 2), (64, 32, 8, 2)),
    ("sm_90", 2, 64): ((128, 64, 8, 3), (32, 128, 8, 2), (128, 32, 8, 2)),
    ("sm_90", 2, 128): ((128, 64, 8, 2), (32, 64, 8, 2), (64, 32, 8, 2)),
    ("sm_100", 2, 64): ((128, 64, 8, 3), (32, 128, 8, 2), (128, 32, 8, 2)),
    ("sm_100", 2, 128): ((128, 64, 8, 2), (32, 64, 8, 2), (64, 64, 8, 2)),
    ("gfx942", 2, 64): ((64, 64, 4, 1), (32, 64, 4, 1), (64, 32, 4, 1)),
    ("gfx942", 2, 128): ((64, 32, 4, 1), (32, 64, 4, 1), (64, 32, 4, 1)),
    ("any", 4, 64): ((32, 32, 4, 1), (32, 32, 8, 1), (32, 32, 8, 1)),
    ("any", 4, 128): ((32, 32, 8, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
    ("any", 8, 64): ((16, 16, 4, 1), (16, 16, 4, 1), (16, 16, 4, 1)),
    ("any", 8, 128): ((16, 16, 4, 1), (16, 16, 4, 1), (16, 16, 8, 1)),  # spills a few words; only checks are so wide
    # an operation costs the interpreter much the same whatever the tile; as on a GPU, two blocks lie on the diagonal
    ("interpreter", 0, 64): ((128, 64, 4, 1), (64, 128, 4, 1), (128, 64, 4, 1)),
    ("interpreter", 0, 128): ((32, 16, 4, 1), (16, 32, 4, 1), (32, 16, 4, 1)),
}
"""By device, bytes of an element and head size; found by what the compiler spills, not yet tuned by timing."""

DELTA_ROWS, DELTA_WARPS = 64, 4


def _target(device: torch.device) -> str:
    if device.type == "cpu":
        return "interpreter"
    if torch.version.hip:
        return "gfx942"
    major, _ = torch.cuda.get_device_capability(device)
    return "sm_80" if major < 9 else "sm_90" if major == 9 else "sm_100"


def _launch(x: Tensor, kernel: int) -> tuple[Launch, dict[str, Any]]:
    """Launch of a kernel (0: forward, 1: dk and dv, 2: dq) on operands like x [..., D], and its arguments."""
    D = x.shape[-1]
    target, size = _target(x.device), x.element_size()
    if target == "interpreter":
        size = 0
    elif size > 2:
        target = "any"
    head = 64 if (target, size, 64) in LAUNCHES and D <= 64 else 128
    launch = LAUNCHES[target, size, head][kernel]
    rows, columns, warps, stages = launch
    return launch, {
        "D": D, "BLOCK_D": max(16, triton.next_power_of_2(D)), "BLOCK_M": rows, "BLOCK_N": columns,
        "WIDEN": size == 0 and x.dtype == torch.bfloat16, "num_warps": warps, "num_stages": stages,
    }  # fmt: skip


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
        (rows, *_), options = _launch(q, 0)
        operands = [x.contiguous() for x in (q, k, v, t, amplitude, rate)]
        forward_kernel[(triton.cdiv(T, rows) * N * H,)](
            *operands, y, rest, sums, T, H, N // amplitude.shape[0], REST=q.element_size() == 2, **options
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
    N, H, T, D = q.shape
    needs = (need_q, need_k, need_v, need_amplitude, need_rate)
    dq, dk, dv, da, dr = _gradients_like(q, k, v, amplitude, rate, needs)
    if not q.numel():
        return dq, dk, dv, da.zero_(), dr.zero_()
    q, k, v, t, amplitude, rate, g = (x.contiguous() for x in (q, k, v, t, amplitude, rate, g))
    y, rest, sums = (x.contiguous() for x in (y, rest, sums))
    delta = torch.empty_like(sums)
    if needs != (False, False, True, False, False):
        delta_kernel[(triton.cdiv(N * H * T, DELTA_ROWS),)](
            y, rest, g, delta, N * H * T, D=D, BLOCK_D=max(16, triton.next_power_of_2(D)), BLOCK_M=DELTA_ROWS,
            REST=q.element_size() == 2, num_warps=DELTA_WARPS,
        )  # fmt: skip
    sizes = (T, H, N // amplitude.shape[0])
    operands = (q, k, v, t, amplitude, rate, g, sums, delta)
    if need_k or need_v:
        (_, columns, *_), options = _launch(q, 1)
        key_kernel[(triton.cdiv(T, columns) * N * H,)](
            *operands, dk, dv, *sizes, NEED_K=need_k, NEED_V=need_v, **options
        )
    if need_q or need_amplitude or need_rate:
        (rows, *_), options = _launch(q, 2)
        tiles = triton.cdiv(T, rows)
        partials = sums.new_empty((N, H, tiles, 2))
        query_kernel[(tiles * N * H,)](
            *operands, dq, partials, *sizes, NEED_Q=need_q, NEED_A=need_amplitude, NEED_R=need_rate, **options
        )
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


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    if torch.is_autocast_enabled(q.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(q.device.type)
        q, k, v = (x if x.dtype == torch.float64 else x.to(narrow) for x in (q, k, v))
    shape = q.shape
    if q.dim() != 4:
        q, k, v, t = (*(x.flatten(0, -4) for x in (q, k, v)), t.flatten(0, -2))
    y: Tensor = DecayAttention.apply(q, k, v, t, amplitude, rate)[0]
    return y.view(shape)


def _signatures(dtype: str, D: int, launch: Launch, outputs: dict[str, str], *needs: str) -> dict[str, Any]:
    """Of a kernel for the ahead-of-time gate: names that it does not take are left out there."""
    operands = dict.fromkeys(("q", "k", "v", "amplitude", "rate", "y", "rest", "g"), f"*{dtype}")
    sizes = dict.fromkeys(("T", "H", "share"), "i32")
    blocks = {"D": D, "BLOCK_D": D, "BLOCK_M": launch[0], "BLOCK_N": launch[1], "WIDEN": False, "REST": dtype == "bf16"}
    wide = "*fp64" if dtype == "fp64" else "*fp32"
    rest = dict.fromkeys(("t", "sums", "delta"), wide) | outputs | dict.fromkeys(needs, True)
    return {f"{dtype} D={D}": {**operands, **sizes, **blocks, **rest}}


def _kernels() -> list[Kernel]:
    found = [
        Kernel(
            delta_kernel,
            passes=("backward",),
            signatures={
                f"{dtype} D={D}": {
                    "y": f"*{dtype}", "rest": f"*{dtype}", "g": f"*{dtype}", "delta": wide, "rows": "i32",
                    "D": D, "BLOCK_D": D, "BLOCK_M": DELTA_ROWS, "REST": dtype == "bf16",
                }
                for dtype, wide, D in (("bf16", "*fp32", 128), ("fp32", "*fp32", 128), ("fp64", "*fp64", 128))
            },
            options={"num_warps": DELTA_WARPS},
        )
    ]  # fmt: skip
    for (target, size, D), launches in LAUNCHES.items():
        if target == "interpreter" or (size, D) == (8, 128):
            continue
        dtype = {2: "bf16", 4: "fp32", 8: "fp64"}[size]
        of, wide = f"*{dtype}", "*fp64" if size == 8 else "*fp32"
        for function, passed, launch, outputs, needs in (
            (forward_kernel, "forward", launches[0], {}, ()),
            (key_kernel, "backward", launches[1], {"dk": of, "dv": of}, ("NEED_K", "NEED_V")),
            (query_kernel, "backward", launches[2], {"dq": of, "partials": wide}, ("NEED_Q", "NEED_A", "NEED_R")),
        ):
            found.append(
                Kernel(
                    function,
                    passes=(passed,),  # type: ignore[arg-type]
                    signatures=_signatures(dtype, D, launch, outputs, *needs),
                    options={"num_warps": launch[2], "num_stages": launch[3]},
                    targets=() if target == "any" else (target,),
                )
            )
    return found


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=tuple(_kernels()),
    style=Style("#E69F00", "X", "-"),
)
