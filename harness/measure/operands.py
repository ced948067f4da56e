"""The tensors that the calls of an arm read, and how their contents are changed between calls.

Contents are written in place, into the very tensors that the calls read, about half of the writes so that ``_version``
moves (through ``detach()``, which shares it) and half so that it does not (through ``.data``), at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from harness.layers.drawing import Values
from harness.layers.gradients import Tensors
from harness.measure.draws import SPARE, Draws, Visit, contents

if TYPE_CHECKING:
    from harness.measure.passes import Call


SETS_PART = 8
"""The sets of one arm take at most this part of what the pool may: each of an arm's group has its own."""


READ_FROM = 2**16
"""Bytes from which on a tensor is read once when it is written, on a CPU, so that the caches hold it rather than what
it was written from. Smaller ones are in the nearest cache all the same."""


class Buffers:
    """One set of tensors that a call reads, copies of values.

    Attributes:
        leaves: inputs, which require a gradient where they are differentiable.
        data: the same without.
    """

    def __init__(self, values: Values) -> None:
        self.leaves = values.leaves()
        self.data = {name: x.detach() for name, x in self.leaves.items()}
        self.cotangent = values.cotangent.clone()
        own = [*self.leaves.values(), self.cotangent]
        self._moved, self._unmoved = [t.detach() for t in own], [t.data for t in own]
        on_cpu = self.cotangent.device.type == "cpu"
        self._large = [on_cpu and t.nbytes >= READ_FROM for t in own]

    def fill(self, source: list[torch.Tensor], moves: bool, count: int) -> None:
        """Write the first so many of the contents; ``moves``: so that ``_version`` does."""
        own = self._moved if moves else self._unmoved
        torch._foreach_copy_(own[:count], source[:count])
        for tensor, large in zip(own[:count], self._large, strict=False):
            if large:
                tensor.sum()


class Same:
    """No operands: calls that read the same at each time, such as those of the roofs."""

    bytes = 0

    def room(self, calls: int) -> int:
        """The number of calls that a sample may have, of so many that are wanted; at least two."""
        return calls

    def begin(self, visit: Visit) -> None:
        """Read these contents from now on."""

    def weigh(self, parameters: Tensors, moves: bool) -> None:
        """Write weights."""

    def ahead(self, n: int) -> int:
        """The number of the next n calls to make before an answer is looked at."""
        return n

    def left(self) -> float:
        """The number of contents that are left in this sample."""
        return math.inf

    def write(self, n: int, count: int, again: bool) -> None:
        """Write the next n contents, for as many calls: the first so many (``count``) of them, which the calls read."""

    def done(self, call: Call, returned: Sequence[Any]) -> None:
        """Take what the last calls returned."""


class Operands(Same):
    """The sets of tensors of an arm, one for each call of a batch.

    Args:
        values: what they hold at first.
        weigh: writes weights into the strategy's own parameters.
        draws: what they hold later; without, they are never written.
    """

    def __init__(self, values: Values, weigh: Callable[[Tensors, bool], None], draws: Draws | None) -> None:
        self._values, self._weigh, self._draws = values, weigh, draws
        self._sets = [Buffers(values)]
        self._next, self._live = 0, 1
        self._visit = Visit()
        self._weights: Tensors | None = None
        self.bytes = sum(t.nbytes for t in contents(values))

    def next(self) -> Buffers:
        """The set that the next call reads."""
        found = self._sets[self._next % self._live]
        self._next += 1
        return found

    def refill(self, values: Values) -> None:
        """Write values into the set that the next call reads, and the parameters with them."""
        self._next, self._live = 0, 1
        everything = contents(values)
        self._sets[0].fill(everything, True, len(everything))
        self._weigh(values.parameters, True)

    def room(self, calls: int) -> int:
        """See ``Same``; the pool grows to them, and the weights are others."""
        if self._draws is None:
            return calls
        held = self._draws.grow(calls + SPARE)
        self._visit = Visit()
        self.weigh(*self._draws.weights())  # else contents that are kept would be known again
        return min(calls, held - min(SPARE, held // 3))

    def begin(self, visit: Visit) -> None:
        """See ``Same``."""
        self._visit = visit

    def weigh(self, parameters: Tensors, moves: bool) -> None:
        """See ``Same``."""
        self._weights = parameters
        self._weigh(parameters, moves)

    def ahead(self, n: int) -> int:
        """See ``Same``: up to the judged one, and as many as there may be sets, in a part of what the pool may take."""
        if self._draws is None:
            return n
        visit = self._visit
        if visit.at <= visit.chosen < visit.at + n:
            n = visit.chosen - visit.at + 1
        return max(1, min(n, self._draws.most_bytes // (SETS_PART * max(1, self.bytes))))

    def left(self) -> float:
        """See ``Same``."""
        return math.inf if self._draws is None else len(self._visit.order) - self._visit.at

    def write(self, n: int, count: int, again: bool) -> None:
        """See ``Same``, each into a set of its own; ``again``: the round's weights too, which a call has changed."""
        if self._draws is None:
            return
        visit, sets = self._visit, self._sets
        while len(sets) < n:
            sets.append(Buffers(self._values))
        for i in range(n):
            if visit.at == len(visit.order):  # in calibration and warm-up, which go round
                visit = self._visit = self._draws.visit(0, len(self._draws.sources))
            sets[i].fill(self._draws.sources[visit.order[visit.at]], visit.moves[visit.at], count)
            visit.at += 1
        self._next, self._live = 0, n
        if again and self._weights is not None:
            self._weigh(self._weights, True)

    def done(self, call: Call, returned: Sequence[Any]) -> None:
        """See ``Same``: the answer is kept where it is one to be judged.

        A step has changed the weights that it read. The round's are written before each batch, so in a batch of several
        calls those of the last one are what is left of them and its own update undone.
        """
        visit = self._visit
        place = visit.chosen - (visit.at - len(returned))
        if visit.judged is None or not 0 <= place < len(returned):
            return
        answer = call.answer(returned[place])
        visit.kept = visit.judged.thinned(answer)
        if call.undo is not None and self._live > 1:
            visit.weights = call.undo(returned[place])
