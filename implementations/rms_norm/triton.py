"""Triton kernels for forward and backward: x and g are read once, y and dL/dx written once.

A program holds whole rows in registers, several where they are short; rows longer than 8,192 (2,048 in float64) are
walked in blocks of columns twice, the second time out of the cache. Beside x and w the rows' r are kept for the
backward, in float32 (4·N bytes; 8·N for float64). Backward, as many programs as the card runs at a time go over the
rows, and each adds up its share of dL/dw in registers; the shares, one row of float32 for each program, are added by
one kernel more: no atomics, so results repeat bit for bit. All arithmetic is float32 (float64 for float64), so nothing
is cast under autocast and y has x's dtype, as torch's own op has it. See ``_kernels.py``.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. A second derivative is not worth a kernel: it goes through the
plain formula of the gradients.
"""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
import triton
from torch import Tensor

from harness import Dims, Kernel, Strategy, Style, Tuning, launch_table, target_of
from implementations.rms_norm import EPS

from ._kernels import add_shares_kernel, backward_kernel, forward_kernel

FORWARD, BACKWARD = (launch_table(__file__, name) for name in ("forward_kernel", "backward_kernel"))
ADDING = {"cuda": {"ROWS": 64, "COLUMNS": 32, "num_warps": 4}, "cpu": {"ROWS": 4, "COLUMNS": 32, "num_warps": 4}}
PROCESSORS = 2  # of an interpreter


@functools.cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else PROCESSORS


def _shares(launch: Mapping[str, int], V: int, N: int, device: torch.device) -> int:
    """How many programs share the rows of one of V: as many as run at a time, each with a tile at least."""
    return max(1, min(_processors(device) * launch["programs"] // max(1, V), triton.cdiv(N, launch["ROWS"])))


def _fold(size: int, dims: tuple[int | None, ...], *operands: Tensor) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own batch axis: [size * V, ...]."""
    spread = (t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(operands, dims, strict=True))
    return [t.flatten(0, 1) for t in spread]


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_forward", mutates_args=())
def run_forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """x [V, N, D], weight [V, D] -> y [V, N, D], r [V, N]; any strides."""
    V, N, D = x.shape
    launch = FORWARD.find(target_of(x.device), x.dtype, D)
    y, scale = x.new_empty((V, N, D)), x.new_empty((V, N), dtype=_wide(x))
    if y.numel():
        forward_kernel[(V * triton.cdiv(N, launch["ROWS"]),)](
            x, weight, y, scale, N, D, *x.stride(), *weight.stride(), WHOLE=launch["COLUMNS"] >= D, **launch
        )  # fmt: skip
    return y, scale


@run_forward.register_fake
def _(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[:2], dtype=_wide(x))


@run_forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], x: Tensor, weight: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    outputs = run_forward(*_fold(info.batch_size, dims, x, weight))
    return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0, 0)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_backward", mutates_args=())
def run_backward(
    g: Tensor, x: Tensor, weight: Tensor, scale: Tensor, need_x: bool, need_weight: bool
) -> tuple[Tensor, Tensor]:
    """g, x [V, N, D], weight [V, D], r [V, N] -> dL/dx [V, N, D], dL/dw [V, D]; what is not needed has no elements."""
    V, N, D = x.shape
    launch = BACKWARD.find(target_of(x.device), x.dtype, D)
    whole, programs = launch["COLUMNS"] >= D, _shares(launch, V, N, x.device)
    of_x = x.new_empty((V, N, D) if need_x else (V, 0))
    new = scale.new_empty if whole and N else scale.new_zeros
    shares = new((V, programs, D) if need_weight else (V, programs, 0))
    if x.numel():
        backward_kernel[(V * programs,)](
            g, x, weight, scale.contiguous(), of_x, shares, N, D, programs, *g.stride(), *x.stride(), *weight.stride(),
            NEED_X=need_x, NEED_WEIGHT=need_weight, WHOLE=whole,
            **{name: value for name, value in launch.items() if name != "programs"},
        )  # fmt: skip
    if not shares.numel():
        return of_x, weight.new_zeros(shares.shape[::2])
    of_weight, adding = weight.new_empty((V, D)), ADDING[x.device.type]
    add_shares_kernel[(V * triton.cdiv(D, adding["COLUMNS"]),)](shares, of_weight, programs, D, **adding)
    return of_x, of_weight


@run_backward.register_fake
def _(g: Tensor, x: Tensor, weight: Tensor, scale: Tensor, need_x: bool, need_weight: bool) -> tuple[Tensor, Tensor]:
    V, N, D = x.shape
    return x.new_empty((V, N, D) if need_x else (V, 0)), weight.new_empty((V, D if need_weight else 0))


@run_backward.register_vmap
def _(
    info: Any, dims: tuple[int | None, ...], g: Tensor, x: Tensor, weight: Tensor, scale: Tensor, *need: bool
) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    outputs = run_backward(*_fold(info.batch_size, dims[:4], g, x, weight, scale), *need)
    return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0, 0)


class RMSNorm(torch.autograd.Function):
    """x [N, D] normalised row by row, times weight [D]; with r [N], which is for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        y, scale = run_forward(x[None], weight[None])
        return y[0], scale[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        need_x, need_weight = ctx.needs_input_grad
        of_x, of_weight = Gradients.apply(g, *ctx.saved_tensors, need_x, need_weight)
        return of_x if need_x else None, of_weight if need_weight else None


class Gradients(torch.autograd.Function):
    """dL/dx [N, D] and dL/dw [D]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, weight: Tensor, scale: Tensor, need_x: bool, need_weight: bool
    ) -> tuple[Tensor, Tensor]:
        of_x, of_weight = run_backward(g[None], x[None], weight[None], scale[None], need_x, need_weight)
        return of_x[0], of_weight[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.needed = inputs[4:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        def gradients(g: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
            wide = x.to(_wide(x))
            r = (wide.square().mean(-1, keepdim=True) + EPS).rsqrt()
            normal, slope = wide * r, g * weight.to(wide.dtype)
            of_x = r * (slope - normal * (slope * normal).mean(-1, keepdim=True))
            of_weight = (g * normal).sum(0)
            both = of_x.to(x.dtype), of_weight.to(weight.dtype)
            return [t for t, need in zip(both, ctx.needed, strict=True) if need]

        _, pull, *_ = torch.func.vjp(gradients, *ctx.saved_tensors)
        return *pull([c for c, need in zip(cotangents, ctx.needed, strict=True) if need]), None, None, None


# apply reads the signature anew at every call, unless it is kept here
for function in (RMSNorm, Gradients):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = RMSNorm.apply(x if x.dim() == 2 else x.reshape(-1, x.shape[-1]), weight)[0]
    return y if x.dim() == 2 else y.view(x.shape)


DTYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
GENERIC = ((64, ("float32", "bfloat16")), (4096, ("float32", "bfloat16", "float16")),
           (8192, ("float32", "bfloat16")), (2048, ("float64",)), (16384, ("float32", "bfloat16")))  # fmt: skip
"""Sizes and dtypes that stand for the rows that are for any target."""


def _signatures(launch: Mapping[str, int], t: str, whole: bool) -> dict[str, dict[str, str | int | bool]]:
    """Of both kernels together, each takes what it has arguments for: D a multiple of 16, and any."""
    wide = "fp64" if t == "fp64" else "fp32"
    fixed: dict[str, str | int | bool] = dict.fromkeys(("g", "x", "weight", "y", "of_x"), f"*{t}")
    fixed |= {"scale": f"*{wide}", "shares": f"*{wide}", "N": "i32", "SHARES": "i32", "g_d": 1, "x_d": 1, "w_d": 1}
    fixed |= {"NEED_X": True, "NEED_WEIGHT": True, "WHOLE": whole, **{n: v for n, v in launch.items() if n.isupper()}}
    found = {}
    for step, name in ((":16", ""), ("", ", any D")):
        strides: dict[str, str | int | bool] = dict.fromkeys(("g_v", "g_n", "x_v", "x_n", "w_v"), f"i64{step}")
        rows = f"{t} {'rows' if whole else 'blocks'} of {launch['COLUMNS']}{name}"
        found[rows] = {**fixed, **strides, "D": f"i32{step}"}
    return found


def _adding() -> dict[str, dict[str, str | int | bool]]:
    """Signatures of the kernel that adds shares: D a multiple of 16, and any."""
    blocks = {name: value for name, value in ADDING["cuda"].items() if name.isupper()}
    return {
        t + name: {
            "shares": "*fp64" if t == "fp64" else "*fp32", "of_weight": f"*{t}", "SHARES": "i32", "D": f"i32{step}",
            **blocks,
        }
        for t in DTYPES.values() for step, name in ((":16", ""), ("", ", any D"))
    }  # fmt: skip


def _kernels(function: Any, passed: str, table: Any) -> list[Kernel]:
    """The rows for any target at some sizes, and every row that is for one."""
    cases: list[tuple[tuple[str, ...], int, str, Mapping[str, int]]] = [
        ((), D, d, table.find("any", d, D)) for D, dtypes in GENERIC for d in dtypes
    ]
    for row in table.rows:
        if row.target not in ("any", "interpreter"):
            size = row.up_to or 2 * row.config["COLUMNS"]
            cases += [((row.target,), size, d, row.config) for d in row.dtypes or ("float32", "bfloat16")]
    return [
        Kernel(
            function, (passed,), _signatures(launch, DTYPES[dtype], launch["COLUMNS"] >= D),  # type: ignore[arg-type]
            {"num_warps": launch["num_warps"]}, targets,
        )
        for targets, D, dtype, launch in cases
    ]  # fmt: skip


def _columns(dims: Dims) -> int:
    return dims["D"]


def _held(D: int, dtype: str) -> list[tuple[int, int]]:
    """Columns and rows of tiles of 1,024 to 8,192 elements (256 to 2,048 in float64); blocks where rows are longer."""
    most = 2**12 if dtype == "float64" else 2**14
    columns = triton.next_power_of_2(D)
    if columns > most // 2:
        return [(block, rows) for block in (most // 8, most // 4) for rows in (1, 2)]
    return [(columns, rows) for rows in (1, 2, 4, 8, 16, 32, 64) if most // 16 <= columns * rows <= most // 2]


def _forward_candidates(D: int, dtype: str) -> list[dict[str, int]]:
    return [
        {"COLUMNS": columns, "ROWS": rows, "num_warps": warps}
        for columns, rows in _held(D, dtype) for warps in (2, 4, 8, 16)
    ]  # fmt: skip


def _backward_candidates(D: int, dtype: str) -> list[dict[str, int]]:
    return [
        {"COLUMNS": columns, "ROWS": rows, "STAGES": stages, "programs": programs, "num_warps": warps}
        for columns, rows in _held(D, dtype)
        for warps, programs in ((4, 4), (4, 6), (8, 2), (8, 3), (8, 4), (16, 1), (16, 2))
        for stages in (1, 2)
    ]  # fmt: skip


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=(
        *_kernels(forward_kernel, "forward", FORWARD),
        *_kernels(backward_kernel, "backward", BACKWARD),
        Kernel(add_shares_kernel, ("backward",), _adding(), {"num_warps": ADDING["cuda"]["num_warps"]}),
    ),
    tunings=(
        Tuning(FORWARD, "forward", _columns, _forward_candidates),
        Tuning(BACKWARD, "backward", _columns, _backward_candidates),
    ),
    style=Style("#E69F00", "X", "-"),
)
