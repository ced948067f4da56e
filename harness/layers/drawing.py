"""Random values for a layer, drawn once by the harness, so that all strategies get the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.layers.gradients import Tensors
from harness.layers.spec import Dims, Layer, Operand


@dataclass(frozen=True)
class Values:
    """Inputs and parameters by name; a cotangent and a target of the output's shape."""

    inputs: Tensors
    parameters: Tensors
    cotangent: Tensor
    target: Tensor

    def to(self, dtype: torch.dtype) -> Values:
        """The same values in another dtype; float64 of rounded values is what the oracle computes with."""
        return Values(
            {name: x.to(dtype) for name, x in self.inputs.items()},
            {name: p.to(dtype) for name, p in self.parameters.items()},
            self.cotangent.to(dtype),
            self.target.to(dtype),
        )

    def leaves(self) -> Tensors:
        """Inputs as fresh leaves that require a gradient."""
        return {name: x.detach().clone().requires_grad_() for name, x in self.inputs.items()}


def draw(layer: Layer, dims: Dims, dtype: torch.dtype, device: str, seed: int) -> Values:
    """Draw everything that one call of a layer needs.

    The cotangent is random and not uniform (unit normal): a backward that ignores it, or takes a mean where a sum
    belongs, shows. The same seed gives the same values on one kind of device.
    """
    generator = torch.Generator(device=device).manual_seed(seed)

    def each(operands: Mapping[str, Operand]) -> Tensors:
        return {name: o.draw(o.sizes(dims), generator).to(dtype) for name, o in operands.items()}

    inputs, parameters = each(layer.inputs), each(layer.parameters)
    shape = tuple(dims[name] for name in layer.output)
    cotangent, target = (torch.randn(shape, generator=generator, device=device).to(dtype) for _ in range(2))
    return Values(inputs, parameters, cotangent, target)
