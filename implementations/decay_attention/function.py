"""``torch.autograd.Function`` with a backward written by hand: probabilities are computed again, not kept.

Autograd keeps several tensors of [B, H, T, T]. By hand only the log-sum-exp of each row is kept beside the inputs, 4
bytes × B·H·T (8 in float64); the backward computes the logits again, ROWS queries at a time against the keys that they
see, so that half of the work is skipped, and what is in flight stays in the cache. Wins where T is long.

The log-sum-exp is a returned output, and its cotangent is used: so a second derivative flows through it, and through a
backward that is made of differentiable ops. Gradients that nobody wants are skipped.
"""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness import Strategy, Style

ROWS = 128


def _rows(T: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries, and the keys that they see."""
    for start in range(0, T, ROWS):
        stop = min(start + ROWS, T)
        yield slice(start, stop), slice(0, stop)


def _logits(
    q: Tensor, k: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor, rows: slice, seen: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [..., H, rows, seen] of a block, with the gaps [..., 1, rows, seen] and the logarithms that they hold."""
    gaps = (t[..., rows, None] - t[..., None, seen]).clamp_min(0).unsqueeze(-3)
    logs = torch.log1p(rate[:, None, None] * gaps)
    logits = q[..., rows, :] @ k[..., seen, :].mT / math.sqrt(q.shape[-1]) - amplitude[:, None, None] * logs
    future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1 + rows.start)
    return logits.masked_fill(future, -math.inf), gaps, logs


class DecayAttention(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        outputs, sums = [], []
        for rows, seen in _rows(q.shape[-2]):
            logits, *_ = _logits(q, k, t, amplitude, rate, rows, seen)
            sums.append(logits.logsumexp(-1))
            outputs.append(torch.exp(logits - sums[-1][..., None]).to(v.dtype) @ v[..., seen, :])
        return torch.cat(outputs, -2), torch.cat(sums, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, of_sums: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, t, amplitude, rate, sums = ctx.saved_tensors
        need_q, need_k, need_v, _, need_amplitude, need_rate = ctx.needs_input_grad
        scale, heads = 1 / math.sqrt(q.shape[-1]), amplitude.shape
        dq: list[Tensor] = []
        dk: list[Tensor] = []
        dv: list[Tensor] = []
        of_amplitude: list[Tensor] = []
        of_rate: list[Tensor] = []
        for rows, seen in _rows(q.shape[-2]):
            logits, gaps, logs = _logits(q, k, t, amplitude, rate, rows, seen)
            p = torch.exp(logits - sums[..., rows, None])
            if need_v:
                dv = _add_columns(dv, p.to(g.dtype).mT @ g[..., rows, :])
            if not (need_q or need_k or need_amplitude or need_rate):
                continue
            dp = g[..., rows, :] @ v[..., seen, :].mT
            ds = p * (dp - (p * dp).sum(-1, keepdim=True) + of_sums[..., rows, None])
            narrow = (ds * scale).to(q.dtype)
            if need_q:
                dq.append(narrow @ k[..., seen, :])
            if need_k:
                dk = _add_columns(dk, narrow.mT @ q[..., rows, :])
            if need_amplitude:
                of_amplitude.append((ds * logs).sum((-2, -1)).sum_to_size(heads))
            if need_rate:
                of_rate.append((ds * gaps / (1 + rate[:, None, None] * gaps)).sum((-2, -1)).sum_to_size(heads))
        return (
            torch.cat(dq, -2) if need_q else None,
            torch.cat(dk, -2) if need_k else None,
            torch.cat(dv, -2) if need_v else None,
            None,
            -torch.stack(of_amplitude).sum(0).to(amplitude.dtype) if need_amplitude else None,
            (-amplitude * torch.stack(of_rate).sum(0)).to(rate.dtype) if need_rate else None,
        )


# apply reads the signature anew at every call, unless it is kept here
vars(DecayAttention.forward)["__signature__"] = inspect.signature(DecayAttention.forward)


def _add_columns(totals: list[Tensor], more: Tensor) -> list[Tensor]:
    """Add a block's [..., seen, D] to totals by blocks of keys, of which the last has not been seen before."""
    pieces = more.split(ROWS, -2)
    return [a + b for a, b in zip(totals, pieces, strict=False)] + list(pieces[len(totals) :])


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    if torch.is_autocast_enabled(q.device.type):  # custom_fwd does not go with setup_context, so the cast is ours
        narrow = torch.get_autocast_dtype(q.device.type)
        q, k, v = (x if x.dtype == torch.float64 else x.to(narrow) for x in (q, k, v))
    y: Tensor = DecayAttention.apply(q, k, v, t, amplitude, rate)[0]
    return y


strategy = Strategy(forward, simplicity=3, style=Style("#D55E00", "^", "--"))
