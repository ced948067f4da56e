"""Triton kernels for forward and backward: x and g are read once, y and dL/dx written once.

A program holds whole rows in registers, several where they are short; rows longer than 8,192 (2,048 in float64) are
walked in blocks of columns twice, the second time out of the cache. Beside x and w the rows' r are kept for the
backward, in float32 (4·N bytes; 8·N for float64). Backward, as many programs as the card runs at a time go over the
rows, and each adds up its share of dL/dw in registers; the shares, one row of float32 for each program, are summed
after: no atomics, so results repeat bit for bit. All arithmetic is float32 (float64 for float64), so nothing is cast
under autocast and y has x's dtype, as torch's own op has it.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. A second derivative is not worth a kernel: it goes through the
plain formula of the gradients.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from harness import Dims, Kernel, Strategy, Style, Tuning, launch_table, target_of
from implementations.rms_norm import EPS

FORWARD, BACKWARD = (launch_table(__file__, name) for name in ("forward_kernel", "backward_kernel"))
PROCESSORS = 2  # of an interpreter
ADDED = tl.constexpr(EPS)


@triton.jit
def forward_kernel(
    x, weight, y, scale, N, D, x_v, x_n, x_d, w_v, w_d,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(N, ROWS)
    v = (tl.program_id(0) // tiles).to(tl.int64)
    n = (tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
    d = tl.arange(0, COLUMNS).to(tl.int64)  # [COLUMNS]
    wide = scale.dtype.element_ty
    x += v * x_v + n[:, None] * x_n
    weight += v * w_v
    y += (v * N + n[:, None]) * D
    if WHOLE:
        inside = (n < N)[:, None] & (d < D)[None, :]
        tile = tl.load(x + d[None, :] * x_d, mask=inside, other=0.0).to(wide)  # [ROWS, COLUMNS]
        w = tl.load(weight + d * w_d, mask=d < D, other=0.0).to(wide)  # [COLUMNS]
        r = 1 / tl.sqrt(tl.sum(tile * tile, 1) / D + ADDED)  # [ROWS]; rsqrt is approximate in float64
        tl.store(y + d[None, :], (tile * r[:, None] * w[None, :]).to(y.dtype.element_ty), mask=inside)
    else:
        squares = tl.zeros([ROWS, COLUMNS], wide)
        for start in range(0, D, COLUMNS):
            inside = (n < N)[:, None] & (start + d < D)[None, :]
            tile = tl.load(x + (start + d)[None, :] * x_d, mask=inside, other=0.0).to(wide)
            squares += tile * tile
        r = 1 / tl.sqrt(tl.sum(squares, 1) / D + ADDED)
        for start in range(0, D, COLUMNS):
            inside = (n < N)[:, None] & (start + d < D)[None, :]
            tile = tl.load(x + (start + d)[None, :] * x_d, mask=inside, other=0.0).to(wide)
            w = tl.load(weight + (start + d) * w_d, mask=start + d < D, other=0.0).to(wide)
            tl.store(y + (start + d)[None, :], (tile * r[:, None] * w[None, :]).to(y.dtype.element_ty), mask=inside)
    tl.store(scale + v * N + n, r, mask=n < N)


@triton.jit
def backward_kernel(
    g, x, weight, scale, of_x, shares, N, D, SHARES, g_v, g_n, g_d, x_v, x_n, x_d, w_v, w_d,
    NEED_X: tl.constexpr, NEED_WEIGHT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WHOLE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    v, share = (tl.program_id(0) // SHARES).to(tl.int64), tl.program_id(0) % SHARES
    d = tl.arange(0, COLUMNS).to(tl.int64)  # [COLUMNS]
    wide = scale.dtype.element_ty
    g, x, weight, scale, of_x = g + v * g_v, x + v * x_v, weight + v * w_v, scale + v * N, of_x + v * N * D
    shares += tl.program_id(0).to(tl.int64) * D
    if WHOLE:
        w = tl.load(weight + d * w_d, mask=d < D, other=0.0).to(wide)  # [COLUMNS]
        total = tl.zeros([ROWS, COLUMNS], wide)
        for first in tl.range(share * ROWS, N, SHARES * ROWS, num_stages=STAGES):
            n = (first + tl.arange(0, ROWS)).to(tl.int64)  # [ROWS]
            inside = (n < N)[:, None] & (d < D)[None, :]
            x_tile = tl.load(x + n[:, None] * x_n + d[None, :] * x_d, mask=inside, other=0.0).to(wide)
            g_tile = tl.load(g + n[:, None] * g_n + d[None, :] * g_d, mask=inside, other=0.0).to(wide)
            r = tl.load(scale + n, mask=n < N, other=0.0)[:, None]  # [ROWS, 1]
            normal = x_tile * r  # [ROWS, COLUMNS]
            if NEED_WEIGHT:
                total += g_tile * normal
            if NEED_X:
                slope = g_tile * w[None, :]
                along = tl.sum(slope * normal, 1)[:, None] / D
                at = of_x + n[:, None] * D + d[None, :]
                tl.store(at, (r * (slope - normal * along)).to(of_x.dtype.element_ty), mask=inside)
        if NEED_WEIGHT:
            tl.store(shares + d, tl.sum(total, 0), mask=d < D)
    else:
        for first in range(share * ROWS, N, SHARES * ROWS):
            n = (first + tl.arange(0, ROWS)).to(tl.int64)
            r = tl.load(scale + n, mask=n < N, other=0.0)[:, None]
            total = tl.zeros([ROWS, COLUMNS], wide)
            for start in range(0, D if NEED_X else 0, COLUMNS):
                c = start + d
                inside = (n < N)[:, None] & (c < D)[None, :]
                x_tile = tl.load(x + n[:, None] * x_n + c[None, :] * x_d, mask=inside, other=0.0).to(wide)
                g_tile = tl.load(g + n[:, None] * g_n + c[None, :] * g_d, mask=inside, other=0.0).to(wide)
                w = tl.load(weight + c * w_d, mask=c < D, other=0.0).to(wide)
                total += g_tile * w[None, :] * (x_tile * r)
            along = tl.sum(total, 1)[:, None] / D
            for start in range(0, D, COLUMNS):
                c = start + d
                inside = (n < N)[:, None] & (c < D)[None, :]
                x_tile = tl.load(x + n[:, None] * x_n + c[None, :] * x_d, mask=inside, other=0.0).to(wide)
                g_tile = tl.load(g + n[:, None] * g_n + c[None, :] * g_d, mask=inside, other=0.0).to(wide)
                normal = x_tile * r
                if NEED_X:
                    w = tl.load(weight + c * w_d, mask=c < D, other=0.0).to(wide)
                    at = of_x + n[:, None] * D + c[None, :]
                    slope = r * (g_tile * w[None, :] - normal * along)
                    tl.store(at, slope.to(of_x.dtype.element_ty), mask=inside)
                if NEED_WEIGHT:
                    so_far = tl.load(shares + c, mask=c < D, other=0.0)
                    tl.store(shares + c, so_far + tl.sum(g_tile * normal, 0), mask=c < D)
            tl.debug_barrier()  # the next rows' threads read what these rows' threads have written


def _shares(launch: Mapping[str, int], V: int, N: int, device: torch.device) -> int:
    """How many programs share the rows of one of V: as many as run at a time, each with a tile at least."""
    cuda = device.type == "cuda"
    processors = torch.cuda.get_device_properties(device).multi_processor_count if cuda else PROCESSORS
    return max(1, min(processors * launch["programs"] // max(1, V), triton.cdiv(N, launch["ROWS"])))


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
    return of_x, shares.sum(1).to(weight.dtype)


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
        for columns, rows in _held(D, dtype) for warps, programs in ((4, 4), (4, 6), (8, 2), (8, 3), (8, 4), (16, 1))
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
    ),
    tunings=(
        Tuning(FORWARD, "forward", _columns, _forward_candidates),
        Tuning(BACKWARD, "backward", _columns, _backward_candidates),
    ),
    style=Style("#E69F00", "X", "-"),
)
