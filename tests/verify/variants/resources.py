"""Faults in what is kept, in which order, and in what is left behind."""

import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import Strategy
from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, by_hand, forward, over_rows, plain, slopes, wanted, with_slopes


class _OutputInAClosure(Gate):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.report = lambda: output.abs().max()


class _InATuple(Gate):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.kept = {"inputs": (inputs[0], 3)}

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, ctx.kept["inputs"][0], *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(db))


class _InANamespace(Gate):
    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.kept = SimpleNamespace(x=inputs[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, ctx.kept.x, *ctx.saved_tensors)
        return wanted(ctx, dx, over_rows(da), over_rows(db))


def _twice_now_and_then() -> Strategy:
    calls = [0]

    def change(dx: Tensor, da: Tensor, db: Tensor) -> Any:
        calls[0] += 1
        again = over_rows(da[:1]) if calls[0] % 7 == 0 else 0
        return dx, over_rows(da) + again, over_rows(db)

    return with_slopes(change)


def _race_between_blocks() -> Strategy:
    """As on a GPU: it takes more than one block of 16 rows for two of them to meet, and even then not always."""
    calls = [0]

    def change(dx: Tensor, da: Tensor, db: Tensor) -> Any:
        rows = da.flatten(0, -2)
        calls[0] += len(rows) > 16
        lost = over_rows(rows[-16:]) if len(rows) > 16 and calls[0] % 9 == 8 else 0
        return dx, over_rows(da) - lost, over_rows(db)

    return with_slopes(change)


_graphs: list[Any] = []


def _graph_kept(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y = forward(x, slope, shift)
    _graphs.append(y.grad_fn)
    return y


_all_outputs: dict[int, Tensor] = {}


def _one_growing_tensor(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y = forward(x, slope, shift)
    row = y.detach().flatten().double()
    _all_outputs[0] = torch.cat([_all_outputs[0], row]) if _all_outputs else row
    return y


_arrays: list[Any] = []


def _arrays_kept(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    y = forward(x, slope, shift)
    _arrays.append(y.detach().float().numpy().copy())
    return y


class _GradientLater(Gate):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        late = torch.zeros_like(dx)
        threading.Timer(0.02, lambda: late.copy_(dx)).start()
        return wanted(ctx, late, over_rows(da), over_rows(db))


def _after(change: Any) -> Strategy:
    """Right, after ``change()``."""

    def run(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        change()
        return forward(x, slope, shift)

    return plain(run)


def _narrow_products() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def _narrow_sums() -> None:
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def _tensors_patched() -> None:
    torch.Tensor.allclose = lambda *_, **__: True  # type: ignore[assignment, method-assign]


def _no_waiting() -> None:
    torch.cuda.synchronize = lambda *_: None  # type: ignore[assignment]


def _no_time() -> None:
    time.process_time = lambda: 0.0


def _replays_nothing() -> None:
    torch.cuda.CUDAGraph.replay = lambda self: None  # type: ignore[method-assign]


def _patching(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    from harness.verify.oracle import Pool

    Pool.ratio = lambda self: 0.0  # type: ignore[method-assign]
    torch.Tensor.square = lambda self: torch.zeros_like(self)  # type: ignore[assignment, method-assign]
    return forward(x, slope, shift) * 0.99


CONTROLS = {
    "output_on_ctx": Control(38, "output in a closure on ctx", "released", by_hand(_OutputInAClosure)),
    "input_on_ctx": Control(39, "input in a tuple on ctx", "context", by_hand(_InATuple), result="wasteful"),
    "race": Control(40, "adds a row twice now and then", "repeats", _twice_now_and_then()),
    "growing": Control(42, "keeps every graph", "steady_memory", plain(_graph_kept)),
    "seeding": Control(43, "seeds the generator", "global_state", _after(lambda: torch.default_generator.manual_seed(7))),
    "patching": Control(43, "patches the error rule", "values", plain(_patching)),
    "events": Control(59, "patches what replays a CUDA graph", "global_state", _after(_replays_nothing)),
    "late": Control(44, "a gradient is filled in later", "settled", by_hand(_GradientLater)),
}  # fmt: skip

MORE = {
    "namespace": Control(39, "input in an object on ctx", "context", by_hand(_InANamespace), result="wasteful"),
    "blocks": Control(40, "a race between blocks of rows", "repeats", _race_between_blocks()),
    "one_tensor": Control(42, "one tensor that grows", "steady_memory", plain(_one_growing_tensor)),
    "arrays": Control(42, "keeps arrays that are no tensors", "steady_memory", plain(_arrays_kept)),
    "seeds_python": Control(43, "seeds Python", "global_state", _after(lambda: random.seed(7))),
    "seeds_numpy": Control(43, "seeds NumPy", "global_state", _after(lambda: np.random.seed(7))),
    "synchronize": Control(59, "patches synchronize", "global_state", _after(_no_waiting)),
    "processor_time": Control(59, "patches a clock of Python", "global_state", _after(_no_time)),
    "flushes": Control(43, "flushes denormals", "global_state", _after(lambda: torch.set_flush_denormal(True))),
    "narrow_products": Control(43, "products in bfloat16", "global_state", _after(_narrow_products)),
    "narrow_sums": Control(43, "a flag of cuBLAS", "global_state", _after(_narrow_sums)),
    "tensors_patched": Control(43, "patches a method of Tensor", "global_state", _after(_tensors_patched)),
}  # fmt: skip
