"""Triton kernels for forward and backward: x is read once for both projections, and h is made where they are.

Forward, one kernel multiplies each tile of x with W_gate and W_up and writes a, b and h = silu(a) · b; a second one
multiplies with W_down. Beside x and the weights a and b are kept, 2·B·H elements (8·B·H bytes in float32, 4·B·H in
bfloat16), and only where a gradient may be asked for. Backward, one pass over [B, H] turns dL/dh into dL/da, in its
place, and dL/db, and makes h again; dL/dx is one product of two terms, and dL/dW_gate and dL/dW_up share each tile of
x again. What is frozen costs nothing. No atomics, so results repeat bit for bit. Accumulators are float32 (float64 for
float64 inputs); float32 products are exact ones (``input_precision="ieee"``), as torch's are. Wins where the vendor's
products leave time between them, and memory as ``function`` does. See ``_kernels.py``.

The launches are raw custom ops, so that ``torch.compile`` and ``vmap`` see them as one op each; the operands carry a
batch axis V of their own, into which ``vmap`` folds. A second derivative is not worth a kernel: it goes through the
plain formula of the gradients.
"""

import inspect
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from harness import Kernel, Strategy, Style, target_of

from ._kernels import product_kernel, slope_kernel, twin_kernel


class Launch(NamedTuple):
    """A program's tile of the result, how far it goes along K at a time, and how it is compiled."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


LAUNCHES: dict[tuple[str, int], tuple[Launch, Launch]] = {
    # target, bytes         twin                            product
    ("sm_80", 2): (Launch(128, 64, 32, 8, 3), Launch(128, 128, 32, 4, 3)),
    ("sm_90", 2): (Launch(128, 128, 32, 8, 4), Launch(128, 256, 64, 8, 3)),
    ("sm_100", 2): (Launch(128, 128, 64, 8, 3), Launch(128, 256, 64, 8, 3)),
    ("gfx942", 2): (Launch(128, 64, 32, 4, 2), Launch(128, 128, 32, 4, 2)),
    ("sm_100", 4): (Launch(64, 32, 16, 4, 3), Launch(64, 64, 16, 4, 1)),
    ("any", 4): (Launch(64, 32, 16, 8, 2), Launch(64, 64, 16, 8, 2)),
    ("sm_100", 8): (Launch(32, 32, 32, 8, 2), Launch(64, 64, 32, 4, 2)),
    ("any", 8): (Launch(32, 32, 32, 4, 2), Launch(64, 64, 32, 4, 2)),
    ("odd", 2): (Launch(64, 32, 32, 4, 2), Launch(64, 32, 32, 4, 2)),
    ("odd", 4): (Launch(64, 32, 16, 4, 2), Launch(32, 32, 16, 4, 1)),
    ("odd", 8): (Launch(32, 32, 32, 4, 2), Launch(64, 64, 16, 8, 2)),
    ("interpreter", 0): (Launch(64, 64, 64, 4, 1), Launch(64, 64, 64, 4, 1)),
}
"""By device and bytes of an element; ``any`` device that has no row of its own, and ``odd`` sizes, no multiples of 16,
which are addressed element by element. Found by what the compiler spills, not yet tuned by timing."""
TARGETS = tuple(target for target, size in LAUNCHES if size == 2 and target != "odd")
GROUP_M = 8
BLOCK, WARPS = 1024, 4  # of what is done element by element


def _launch(kernel: int, *operands: Tensor) -> tuple[Launch, dict[str, Any]]:
    """Launch of a kernel (0: twin, 1: product) on operands, and its arguments."""
    like, target = operands[0], target_of(operands[0].device)
    interpreted = like.device.type == "cpu"
    size = 0 if interpreted else like.element_size()
    if not interpreted and any(n % 16 and n != 1 for t in operands for n in (*t.shape, *t.stride())):
        target = "odd"
    launch = LAUNCHES[(target if (target, size) in LAUNCHES else "any"), size][kernel]
    return launch, {
        "BLOCK_M": launch.rows, "BLOCK_N": launch.columns, "BLOCK_K": launch.depth, "GROUP_M": GROUP_M,
        "WIDEN": interpreted and like.dtype == torch.bfloat16, "num_warps": launch.warps, "num_stages": launch.stages,
    }  # fmt: skip


def _programs(launch: Launch, V: int, M: int, N: int) -> tuple[int]:
    return (V * triton.cdiv(M, launch.rows) * triton.cdiv(N, launch.columns),)


def _product(a: Tensor, b: Tensor, more: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """a [V, M, K] times b [V, K, N], and where there are more, their product added; any strides."""
    (V, M, K), N = a.shape, b.shape[2]
    c = a.new_empty((V, M, N))
    more_a, more_b = more or (a, b)
    assert more_a.stride() == a.stride()
    launch, options = _launch(1, a, b, more_b)
    if c.numel():
        product_kernel[_programs(launch, V, M, N)](
            a, b, more_a, more_b, c, M, N, K, *a.stride(), *b.stride(), *more_b.stride(),
            MORE=more is not None, **options,
        )  # fmt: skip
    return c


def _twins(x: Tensor, gate: Tensor, up: Tensor, gated: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x [V, M, K] times gate and times up [V, K, N], if they are to be kept, and h, if it is gated; else [V, 0]."""
    (V, M, K), N = x.shape, gate.shape[2]
    full, none = (V, M, N), (V, 0)
    a, b, h = (x.new_empty(full if wanted else none) for wanted in (keep, keep, gated))
    launch, options = _launch(0, x, gate, up)
    if V * M * N:
        twin_kernel[_programs(launch, V, M, N)](
            x, gate, up, a, b, h, M, N, K, *x.stride(), *gate.stride(), *up.stride(), GATED=gated, KEEP=keep, **options
        )
    return a, b, h


def _fold(size: int, dims: tuple[int | None, ...], *operands: Tensor) -> list[Tensor]:
    """Fold the axis that vmap maps over into each operand's own batch axis: [size * V, ...]."""
    spread = (t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(operands, dims, strict=True))
    return [t.flatten(0, 1) for t in spread]


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_forward", mutates_args=())
def run_forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x [V, B, I], gate, up [V, I, H], down [V, H, O] -> y [V, B, O], and a, b [V, B, H] if kept, else [V, 0]."""
    a, b, h = _twins(x, gate, up, True, keep)
    return _product(h, down), a, b


@run_forward.register_fake
def _(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    kept = (*x.shape[:2], gate.shape[2]) if keep else (x.shape[0], 0)
    return x.new_empty((*x.shape[:2], down.shape[2])), x.new_empty(kept), x.new_empty(kept)


@run_forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *operands: Any) -> tuple[tuple[Tensor, ...], tuple[int, int, int]]:
    outputs = run_forward(*_fold(info.batch_size, dims[:4], *operands[:4]), *operands[4:])
    return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0, 0, 0)


@torch.library.custom_op(f"layerbench::{__name__.replace('.', '_')}_backward", mutates_args=())
def run_backward(
    g: Tensor, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, a: Tensor, b: Tensor,
    need_x: bool, need_gate: bool, need_up: bool, need_down: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, gate, up and down for g [V, B, O]; [V, 0] for those that are not needed."""
    a, b = a.contiguous(), b.contiguous()
    need_a, need_b = need_x or need_gate, need_x or need_up
    of_a = _product(g, down.mT) if need_a or need_b else a  # dL/dh, until the kernel turns it into dL/da
    of_b, h = (a.new_empty(a.shape if need else (a.shape[0], 0)) for need in (need_b, need_down))
    if a.numel():
        slope_kernel[(triton.cdiv(a.numel(), BLOCK),)](
            of_a, a, b, h, of_b, a.numel(), NEED_A=need_a, NEED_B=need_b, NEED_H=need_down, BLOCK=BLOCK,
            num_warps=WARPS,
        )  # fmt: skip
    of_x, of_gate, of_up, of_down = (x.new_empty((x.shape[0], 0)) for _ in range(4))
    if need_down:
        of_down = _product(h.mT, g)
    if need_x:
        of_x = _product(of_a, gate.mT, (of_b, up.mT))
    if need_gate and need_up:
        of_gate, of_up, _ = _twins(x.mT, of_a, of_b, False, True)
    elif need_gate:
        of_gate = _product(x.mT, of_a)
    elif need_up:
        of_up = _product(x.mT, of_b)
    return of_x, of_gate, of_up, of_down


@run_backward.register_fake
def _(
    g: Tensor, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, a: Tensor, b: Tensor, *needs: bool
) -> tuple[Tensor, ...]:
    of = zip((x, gate, up, down), needs, strict=True)
    return tuple(t.new_empty(t.shape if need else (t.shape[0], 0)) for t, need in of)


@run_backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *operands: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    outputs = run_backward(*_fold(info.batch_size, dims[:7], *operands[:7]), *operands[7:])
    return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0,) * 4


class SwiGLU(torch.autograd.Function):
    """x [B, I], gate, up [I, H], down [H, O] -> y [B, O]; with a and b [B, H], which are for the backward alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
        y, a, b = run_forward(x[None], gate[None], up[None], down[None], keep)
        return y[0], a[0], b[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # of a and b, two tensors of zeros
        ctx.save_for_backward(*inputs[:4], *output[1:])

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if g is None:
            return (None,) * 5
        x, gate, up, down, a, b = ctx.saved_tensors
        need_x, need_gate, need_up, need_down, _ = ctx.needs_input_grad
        found = Gradients.apply(g, x, gate, up, down, a, b, need_x, need_gate, need_up, need_down)
        of_x, of_gate, of_up, of_down = found
        return (
            of_x if need_x else None,
            of_gate if need_gate else None,
            of_up if need_up else None,
            of_down if need_down else None,
            None,
        )


class Gradients(torch.autograd.Function):
    """dL/dx [B, I], dL/dW_gate, dL/dW_up [I, H] and dL/dW_down [H, O]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, a: Tensor, b: Tensor,
        need_x: bool, need_gate: bool, need_up: bool, need_down: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        of_x, of_gate, of_up, of_down = run_backward(
            g[None], x[None], gate[None], up[None], down[None], a[None], b[None], need_x, need_gate, need_up, need_down
        )
        return of_x[0], of_gate[0], of_up[0], of_down[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.needed = inputs[7:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        def gradients(g: Tensor, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> list[Tensor]:
            a, b, of_h = x @ gate, x @ up, g @ down.T
            sigmoid = torch.sigmoid(a)
            silu = a * sigmoid
            of_a, of_b = of_h * b * (sigmoid + silu * (1 - sigmoid)), of_h * silu
            all_of_them = of_a @ gate.T + of_b @ up.T, x.T @ of_a, x.T @ of_b, (silu * b).T @ g
            return [t for t, need in zip(all_of_them, ctx.needed, strict=True) if need]

        _, pull, *_ = torch.func.vjp(gradients, *ctx.saved_tensors)
        return *pull([c for c, need in zip(cotangents, ctx.needed, strict=True) if need]), *(None,) * 6


# apply reads the signature anew at every call, unless it is kept here
for function in (SwiGLU, Gradients):
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)


def forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(x.device.type)
        x, gate, up, down = (t if t.dtype == torch.float64 else t.to(narrow) for t in (x, gate, up, down))
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y: Tensor = SwiGLU.apply(rows, gate, up, down, torch.is_grad_enabled())[0]
    return y if x.dim() == 2 else y.view(*x.shape[:-1], down.shape[1])


Signature = dict[str, str | int | bool]
DTYPES = {2: "bf16", 4: "fp32", 8: "fp64"}


def _signatures(dtype: str, launch: Launch, step: str, forms: dict[str, Signature]) -> dict[str, Signature]:
    """Of twin and product for the ahead-of-time gate, by what they make; names that a kernel lacks are left out."""
    pointers = ("a", "b", "more_a", "more_b", "c", "x", "gate", "up", "h")
    strides = [f"{operand}_{axis}" for operand in ("a", "b", "more", "x", "gate", "up") for axis in "vmkn"]
    common: Signature = {
        **dict.fromkeys(pointers, f"*{dtype}"), **dict.fromkeys("MNK", f"i32{step}"),
        **dict.fromkeys(strides, f"i64{step}"), "BLOCK_M": launch.rows, "BLOCK_N": launch.columns,
        "BLOCK_K": launch.depth, "GROUP_M": GROUP_M, "WIDEN": False, "MORE": False, "GATED": False, "KEEP": True,
    }  # fmt: skip
    return {f"{dtype} {name}{'' if step else ', odd sizes'}": {**common, **form} for name, form in forms.items()}


def _ones(*strides: str) -> Signature:
    return dict.fromkeys(strides, 1)


TWINS: dict[str, Signature] = {
    "h": {**_ones("x_k", "gate_n", "up_n"), "GATED": True},
    "h alone": {**_ones("x_k", "gate_n", "up_n"), "GATED": True, "KEEP": False},
    "dL/dW_gate, dL/dW_up": _ones("x_m", "gate_n", "up_n"),
}
PRODUCTS: dict[str, Signature] = {
    "y": _ones("a_k", "b_n"),
    "dL/dh": _ones("a_k", "b_k"),
    "dL/dx": {**_ones("a_k", "b_k", "more_k"), "MORE": True},
    "dL/dW_down": _ones("a_m", "b_n"),
}


def _kernels() -> list[Kernel]:
    found = [
        Kernel(
            slope_kernel,
            passes=("backward",),
            signatures={
                dtype: {
                    **dict.fromkeys(("slope", "a", "b", "h", "of_b"), f"*{dtype}"), "elements": "i64",
                    **dict.fromkeys(("NEED_A", "NEED_B", "NEED_H"), True), "BLOCK": BLOCK,
                }
                for dtype in DTYPES.values()
            },
            options={"num_warps": WARPS},
        )
    ]  # fmt: skip
    for (target, size), launches in LAUNCHES.items():
        if target == "interpreter":
            continue
        own = tuple(t for t, n in LAUNCHES if n == size and t not in ("any", "odd"))
        targets = {"any": tuple(t for t in TARGETS if t not in own), "odd": ()}.get(target, (target,))
        for function, launch, forms, widest in (
            (twin_kernel, launches[0], TWINS, "h"),
            (product_kernel, launches[1], PRODUCTS, "dL/dx"),
        ):
            step, chosen = ("", {widest: forms[widest]}) if target == "odd" else (":16", forms)
            signatures = _signatures(DTYPES[size], launch, step, chosen)
            options = {"num_warps": launch.warps, "num_stages": launch.stages}
            found.append(Kernel(function, ("forward", "backward"), signatures, options, targets))
    return found


strategy = Strategy(
    forward,
    devices=("cuda",),
    needs=("triton",),
    simplicity=5,
    kernels=tuple(_kernels()),
    style=Style("#E69F00", "X", "-"),
)
