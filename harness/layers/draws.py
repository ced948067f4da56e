"""Ready-made draws for operands. torch is imported when one is called, so that the face stays light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Unit normal."""
    import torch

    return torch.randn(shape, generator=generator, device=generator.device)


def integers(below: str) -> Callable[..., Tensor]:
    """A draw of whole numbers from 0 to just below the size of a dim: labels, indices."""

    def draw(shape: tuple[int, ...], generator: Generator, dims: Mapping[str, int]) -> Tensor:
        import torch

        return torch.randint(dims[below], shape, generator=generator, device=generator.device)

    return draw
