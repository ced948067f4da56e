"""The contents that timed calls read: a pool of whole valid draws, and other weights for each round.

A strategy that is called again and again with the same tensors can answer from what it has kept. So each call of a
sample reads contents that no other call of that sample reads, and each round has weights of its own: an answer that is
kept by its address, its version, its contents or a part of them is stale by then. A layout of the weights may be kept
for a round, as in a model that is used and not trained.

The pool's contents come again in later rounds, with other weights. What depends on the inputs alone may be kept and be
right then. So in a judged round one more timed call reads contents that are new to all arms, in place of others: a
strategy that takes longer for them than for those that it has read before answers those from memory.

The pool is filled while calls are counted out, before anything is timed. It is bounded by memory; where the bound
bites, a sample has fewer calls. It bites where calls are far shorter than it takes to read what they are given.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from harness.layers.drawing import Values, draw, draw_parameters
from harness.layers.gradients import Tensors
from harness.layers.spec import Dims, Layer

MOST_BYTES, SHARE_OF_MEMORY = 2**30, 1 / 8
"""Of a pool: on a CPU at most so much, and nowhere more than this share of the memory."""
FEWEST_DRAWS = 3
"""Whatever their size: one for an untimed call, one for a timed one, and another."""
SPARE = 10
"""Contents beyond a sample's calls: for those that are timed again, and for whole replays of a graph."""
JUDGED, MOST_JUDGED = 3, 7
"""Rounds of a pass and regime whose answers are judged; and where so few don't tell stale answers from right ones."""
THINNED = 2**20
"""Elements of an answer that are kept and judged; of larger ones evenly spaced ones, from an offset drawn at random."""


@dataclass(frozen=True)
class Judged:
    """The contents and weights of a call whose answer is judged; the same for all arms, passes and regimes.

    Attributes:
        number: 0, 1, …; which writes move ``_version`` goes by it.
        draw: index in the pool.
        offset: of the elements that are kept.
    """

    number: int
    draw: int
    offset: int

    @property
    def moves_inputs(self) -> bool:
        """Tell whether the write of its contents moves ``_version``."""
        return self.number % 2 == 1

    @property
    def moves_weights(self) -> bool:
        """Tell whether the write of its weights does."""
        return self.number % 3 == 0

    def thinned(self, tensors: list[Tensor]) -> list[Tensor]:
        """Copies of the elements that are judged, one dim each."""
        found = []
        for t in tensors:
            stride = math.ceil(t.numel() / THINNED) or 1
            found.append(t.detach().reshape(-1)[self.offset % stride :: stride].clone())
        return found


@dataclass
class Visit:
    """The contents that the calls of a sample read, in order.

    Attributes:
        order: indices in the pool.
        moves: whether each is written so that ``_version`` moves.
        judged: what is read at place ``chosen``, whose answer is kept.
        new: place of contents that no call has read before; -1 for none.
        at: how many were read.
        kept: that answer, thinned; ``weights``: those of the call where they are no more the round's.
    """

    order: list[int] = field(default_factory=list)
    moves: list[bool] = field(default_factory=list)
    judged: Judged | None = None
    chosen: int = -1
    new: int = -1
    at: int = 0
    kept: list[Tensor] | None = None
    weights: Tensors | None = None


class Draws:
    """The pool of a group.

    Args:
        values: of the group; its dtype, device and operands are theirs.
        seed: of this process; contents that another process has seen don't come again.
        most_bytes: of the pool.
    """

    def __init__(self, layer: Layer, dims: Dims, values: Values, seed: int, most_bytes: int | None = None) -> None:
        self._layer, self._dims, self._values = layer, dims, values
        self._seeds = random.Random(f"draws {seed}")
        self._seed = self._seeds.getrandbits(48)
        self.device = values.cotangent.device.type
        self.bytes = sum(t.nbytes for t in contents(values))
        self.most_bytes = _bound(self.device) if most_bytes is None else most_bytes
        self.most = max(FEWEST_DRAWS, self.most_bytes // max(1, self.bytes))
        self.sources: list[list[Tensor]] = []
        self._pool: list[Values] = []
        self._rounds, self._drawn = MOST_JUDGED, 0
        self._order = np.random.default_rng(self._seed)
        self.grow(FEWEST_DRAWS + SPARE)
        self.judged = [self._judged(number) for number in range(JUDGED)]

    def grow(self, count: int) -> int:
        """Hold so many draws, or as many as may be; how many there are."""
        while len(self._pool) < min(count, self.most):
            self._pool.append(self._draw())
            self.sources.append(contents(self._pool[-1]))
        return len(self._pool)

    def judge_more(self) -> None:
        """Judge as many rounds as may be."""
        self.judged += [self._judged(number) for number in range(len(self.judged), MOST_JUDGED)]

    def weights(self, judged: Judged | None = None) -> tuple[Tensors, bool]:
        """The weights of a round, of a judged call or new ones; and whether their write moves ``_version``."""
        if judged is not None:
            return self._weights(judged.number), judged.moves_weights
        self._rounds += 1
        return self._weights(self._rounds), self._rounds % 2 == 0

    def values(self, judged: Judged, other: Judged | None = None) -> Values:
        """The values that a judged call read, with the weights of another one's round where that is given."""
        return replace(self._pool[judged.draw], parameters=self._weights((other or judged).number))

    def renew(self) -> None:
        """Put contents that no call has read in place of some that are never judged, if there are such."""
        if len(self._pool) > MOST_JUDGED:
            self._pool[MOST_JUDGED] = self._draw()
            self.sources[MOST_JUDGED] = contents(self._pool[MOST_JUDGED])

    def visit(self, untimed: int, calls: int, judged: Judged | None = None) -> Visit:
        """Contents for a sample in random order, each at most once; judged and new ones at random timed calls."""
        count = min(len(self._pool), untimed + calls + SPARE)
        order: list[int] = self._order.permutation(count).tolist()
        moves: list[bool] = (self._order.random(count) < 0.5).tolist()
        if judged is None:
            return Visit(order, moves)
        chosen, new = (untimed + self._order.permutation(calls)[:2]).tolist() if calls > 1 else (untimed, -1)
        _place(order, judged.draw, chosen)
        if new >= 0 and MOST_JUDGED in order:
            _place(order, MOST_JUDGED, new)
        else:
            new = -1
        moves[chosen] = judged.moves_inputs
        return Visit(order, moves, judged, chosen, new)

    def _judged(self, number: int) -> Judged:
        return Judged(number, number % len(self._pool), self._seeds.getrandbits(30))

    def _draw(self) -> Values:
        dtype, self._drawn = self._values.cotangent.dtype, self._drawn + 1
        return draw(self._layer, self._dims, dtype, self.device, self._seed + self._drawn, self._values.parameters)

    def _weights(self, number: int) -> Tensors:
        dtype = self._values.cotangent.dtype
        return draw_parameters(self._layer, self._dims, dtype, self.device, self._seed + 2**48 + number)


def _place(order: list[int], draw: int, place: int) -> None:
    found = order.index(draw)
    order[found], order[place] = order[place], draw


def contents(values: Values) -> list[Tensor]:
    """All that changes from call to call."""
    return [*values.inputs.values(), values.cotangent]


def _bound(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0] * SHARE_OF_MEMORY)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(MOST_BYTES, memory * SHARE_OF_MEMORY))
