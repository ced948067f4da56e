"""The yardstick: the reference in float64 on the same rounded inputs, and the one rule for how far off is wrong.

Over D draws, for an output or gradient tensor, with eps the spacing of the case's dtype,

    √Σ‖out − oracle‖²  ≤  2 · max(√Σ‖reference − oracle‖², 4 · eps · √Σ‖oracle‖²)

where the reference runs in the same dtype on the same device: a strategy may be at most twice as far from the truth
as plain autograd is. The sums are pooled over draws because a single draw of right code can be unlucky: 8, or fewer
where a draw is dear. What exceeds the bound by less than three times is drawn again, 8 times where that was fewer and
then 64 times, and that result is final.

A defect in one place is lost in a norm, but it repeats in its place and rounding does not: so every element is
pooled over the draws as well, each draw divided by the oracle's own root mean square, so that no draw outweighs the
others. Under rounding D·err_e²/s_e² is then roughly chi-squared with D degrees of freedom, s_e being the element's
scale (the largest of the reference's error there, its error over the whole tensor, 4·eps·|oracle|, each as a root mean
square; in float64 and float32 at least 8·eps of the whole tensor's, as an FFT rounds over all of it); the bound
is 2 · s_e · √(q/D) with q the quantile that one of n elements passes once in a million tensors.
At the final look each element's largest draw is left out (and D is one less): once is no repetition. In one draw of 64
a second derivative of right attention code was 80 times as far off in one element as in any other, where terms of that
draw's own cancelled; a defect in a place is there in most draws.

Where an answer is far smaller than the terms that it is added up from (terms.py), and rounding those by one spacing
leaves fewer than three bits of it, the case is *ill-conditioned*: right spellings differ there by all of the answer.
(The gradient of a norm over one element is 1e-7 of its terms: where x is cast to float32 once, the sum of the two is
rounded to bfloat16; where it is cast twice, each of them is, and nothing is left.) Where the reference has no three
right bits itself, or a strategy exceeds its bound, that is looked into. Then the size of the terms takes the oracle's
place in the bound: within it nothing is said for or against a strategy; what is farther off is wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FACTOR = 2.0
FLOOR_IN_EPS = 4.0
RETRY_BELOW = 3.0
DRAWS, FINAL_DRAWS = 8, 64
ILL_CONDITIONED = 0.1
EVEN = 1e-5
"""Spacing below which an element may be off by the norm's bound even where it is small itself: transforms (an FFT, fast
products) round over a whole tensor, by several spacings of its root mean square, also where the answer is small. In
16 bits such methods compute in float32 inside, and nothing is granted."""
LOST = 1 / 8
"""The reference's own error ÷ the oracle: where it is larger, fewer than three bits are right."""
FEWEST_ELEMENTS, MOST_ELEMENTS = 64, 2**24
"""Tensors of this many elements are pooled per element too. In smaller ones a wrong element shows in the norm (one of
64 is an eighth of it, and bfloat16's bound a sixteenth), and a draw's size would rest on few numbers; larger ones would
take gigabytes."""


class UnusableYardstickError(ArithmeticError):
    """The reference or the oracle is not finite on these values, so nothing can be held against it."""


class Pool:
    """Errors of one tensor, pooled over draws."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.eps = torch.finfo(dtype).eps
        self.draws = 0
        self._sums = [0.0, 0.0, 0.0]
        self._elements: list[Tensor] | None = None
        self._largest: Tensor | None = None

    def add(self, out: Tensor, reference: Tensor, oracle: Tensor, terms: float = 0.0) -> None:
        """Add a draw: three tensors of one shape, the oracle in float64.

        Args:
            terms: size of what is added up in an element: it takes |oracle|'s place in the bound where that is smaller.

        Raises:
            UnusableYardstickError: reference or oracle overflow or are NaN.
        """
        squares = [
            (out.detach().double() - oracle).square(),
            (reference.detach().double() - oracle).square(),
            oracle.square().clamp_min(terms**2),
        ]
        self.draws += 1
        self._sums = [total + s.sum().item() for total, s in zip(self._sums, squares, strict=True)]
        if not math.isfinite(self._sums[1]) or not math.isfinite(self._sums[2]):
            raise UnusableYardstickError("the reference or the oracle is not finite on these values")
        size = squares[2].mean().item() if oracle.numel() else 0.0
        if FEWEST_ELEMENTS <= oracle.numel() <= MOST_ELEMENTS and size > 0:
            weighted = [s / size for s in squares]
            largest = self._largest
            self._largest = weighted[0].clone() if largest is None else torch.maximum(largest, weighted[0])
            if self._elements is None:
                self._elements = weighted
            else:
                for total, s in zip(self._elements, weighted, strict=True):
                    total += s

    @property
    def error(self) -> float:
        """Distance from the oracle; infinite where the output holds a NaN that the oracle doesn't."""
        return _distance(self._sums[0])

    @property
    def reference_error(self) -> float:
        """The reference's own distance from the oracle."""
        return _distance(self._sums[1])

    @property
    def ill_conditioned(self) -> float:
        """The reference's own relative error, where that leaves it less than a digit; else 0."""
        share = self.reference_error / math.sqrt(self._sums[2]) if self._sums[2] > 0 else 0.0
        return share if share > ILL_CONDITIONED else 0.0

    @property
    def size(self) -> float:
        """The oracle's norm."""
        return math.sqrt(self._sums[2])

    @property
    def lost(self) -> bool:
        """Tell whether the reference itself has fewer than three right bits, or the true answer is 0."""
        return self.reference_error >= LOST * self.size

    @property
    def bound(self) -> float:
        """The largest error that passes."""
        return self.bound_for(self.size)

    def bound_for(self, size: float) -> float:
        """The largest error that passes where the answer is added up from terms of a size (a norm, as the oracle's)."""
        return FACTOR * max(self.reference_error, FLOOR_IN_EPS * self.eps * size)

    def worst_element(self) -> tuple[float, int]:
        """The largest (error ÷ bound) of a single element, and its flat index; (0, -1) where none is pooled."""
        if self._elements is None:
            return 0.0, -1
        out, reference, oracle = (s.flatten() / self.draws for s in self._elements)
        draws = self.draws
        if draws >= FINAL_DRAWS and self._largest is not None:
            draws -= 1
            out = (out * self.draws - self._largest.flatten()).clamp_min(0) / draws
        scale = torch.maximum(reference, (FLOOR_IN_EPS * self.eps) ** 2 * oracle).clamp_min(reference.mean())
        if self.eps < EVEN:
            scale = scale.clamp_min((FACTOR * FLOOR_IN_EPS * self.eps) ** 2 * oracle.mean())
        from scipy.special import chdtri  # 0.3 s, which a process that only times does not need

        quantile = float(chdtri(draws, 1e-6 / out.numel()))
        ratios = out / (FACTOR**2 * quantile / draws * scale)
        ratios = torch.where(out == 0, 0.0, ratios).nan_to_num(nan=math.inf, posinf=math.inf)
        worst = int(ratios.argmax())
        return math.sqrt(ratios[worst].item()), worst

    def norm_ratio(self) -> float:
        """Error ÷ bound of the whole tensor; at most 1 passes."""
        return 0.0 if self.error == 0 else (self.error / self.bound if self.bound > 0 else math.inf)

    def ratio(self) -> float:
        """Error ÷ bound, of the whole tensor or of its worst element, whichever is larger; at most 1 passes."""
        return max(self.norm_ratio(), self.worst_element()[0])


def _distance(squares: float) -> float:
    return math.inf if math.isnan(squares) else math.sqrt(squares)
