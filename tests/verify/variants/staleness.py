"""Faults in what is kept from one call to the next."""

from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness import Strategy
from harness.verify.controls.control import Control
from tests.verify.variants.gate import Gate, by_hand, forward, over_rows, plain, slopes, wanted


def _found_by(key_of: Callable[[Tensor], Hashable]) -> Strategy:
    """Outputs by a key of each operand, found again as long as they live."""
    outputs: dict[Hashable, Tensor] = {}

    class Kept(Gate):
        @staticmethod
        def forward(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
            key = tuple((t.shape, t.dtype, key_of(t)) for t in (x, slope, shift))
            if key not in outputs:
                outputs[key] = forward(x, slope, shift).detach()
            return outputs[key].clone()

    return by_hand(Kept)


def _ends(t: Tensor) -> Hashable:
    flat = t.detach().reshape(-1)
    return (*flat[:8].tolist(), *flat[-8:].tolist())


def _evenly(t: Tensor) -> Hashable:
    flat = t.detach().reshape(-1)
    return tuple(flat[:: max(1, len(flat) // 8)].tolist())


def _packed() -> Strategy:
    """The parameters are packed anew where their version says that they have changed, as prepacking may do."""
    packs: dict[int, tuple[int, Tensor]] = {}

    def run(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return forward(x, slope, shift)
        version, pack = packs.get(id(slope), (-1, slope))
        if version != slope._version:
            pack = slope.detach().clone()
            packs[id(slope)] = slope._version, pack
        return forward(x, pack, shift)

    return plain(run)


class _SlopesKept(Gate):
    """Gradients of the parameters, by the place of the cotangent."""

    sums: ClassVar[dict[Hashable, tuple[Tensor, Tensor]]] = {}

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        dx, da, db = slopes(g, *ctx.saved_tensors)
        key = (g.data_ptr(), g._version, g.shape, g.dtype)
        kept = _SlopesKept.sums.setdefault(key, (over_rows(da), over_rows(db)))
        return wanted(ctx, dx, *kept)


CONTROLS = {
    "kept_by_version": Control(49, "outputs by address and version", "stale", _found_by(lambda t: (t.data_ptr(), t._version))),
    "kept_by_some": Control(49, "outputs by their first and last elements", "stale", _found_by(_ends)),
    "kept_backward": Control(49, "gradients by the cotangent's place", "stale", by_hand(_SlopesKept)),
}  # fmt: skip

MORE = {
    "kept_by_id": Control(49, "outputs by id", "stale", _found_by(id)),
    "kept_by_address": Control(49, "outputs by address", "stale", _found_by(lambda t: t.data_ptr())),
    "kept_evenly": Control(49, "outputs by evenly spaced elements", "stale", _found_by(_evenly)),
    "kept_by_sum": Control(49, "outputs by sums", "stale", _found_by(lambda t: t.detach().double().sum().item())),
    "packed": Control(8, "packs by version alone", "stale", _packed()),
}  # fmt: skip
