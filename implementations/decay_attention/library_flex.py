"""PyTorch's FlexAttention with the decay as its score modification: compiled into one kernel for each pass.

Nothing of size T × T is stored but the mask of blocks (128 × 128 each), made once for each T; the decay is computed
from the time stamps where it is used, and tiles in the future are skipped. The gradients of amplitude and rate are
added up atomically, one addition for each pair of positions, so their bits may differ from call to call. Costs seconds
before the first call. There is no backward on the CPU, and no float64. float32 is not claimed: so many numbers are
added to the gradients of amplitude and rate one by one that they are off by three times as much as plain autograd's
(torch 2.11 on an H200, T = 129). Heads narrower than 16 are padded with zeros.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from harness import Strategy

NARROWEST = 16


def _seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


@lru_cache(maxsize=8)
def _mask(T: int, device: torch.device) -> BlockMask:
    return create_block_mask(_seen, None, None, T, T, device=str(device))


@torch.compile(fullgraph=True, dynamic=False)
def attend(
    q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor, mask: BlockMask, scale: float
) -> Tensor:
    def decayed(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        gap = (t[batch, query] - t[batch, key]).clamp_min(0)
        return score - amplitude[head] * torch.log1p(rate[head] * gap)

    y: Tensor = flex_attention(q, k, v, score_mod=decayed, block_mask=mask, scale=scale)
    return y


def forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, amplitude: Tensor, rate: Tensor) -> Tensor:
    shape, (T, D) = q.shape, q.shape[-2:]
    if q.dim() != 4:
        q, k, v, t = (*(x.flatten(0, -4) for x in (q, k, v)), t.flatten(0, -2))
    if D < NARROWEST:
        q, k, v = (F.pad(x, (0, NARROWEST - D)) for x in (q, k, v))
    y = attend(q, k, v, t, amplitude, rate, _mask(T, q.device), 1 / math.sqrt(D))
    return y[..., :D].reshape(shape)


strategy = Strategy(
    forward, devices=("cuda",), dtypes=("bfloat16",), needs=("compiler", "triton"), simplicity=8,
    variant_of="library",
)  # fmt: skip
