"""Random values for a layer, drawn once by the harness, so that all strategies get the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.layers.gradients import Tensors
from harness.layers.spec import Dims, Layer, Operand


def rounded(operand: Operand, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a dtype, in the narrowest that the operand comes in where that is wider, or in the operand's own."""
    if operand.dtype:
        return tensor.to(getattr(torch, operand.dtype))
    return tensor.to(torch.promote_types(dtype, getattr(torch, operand.least)) if operand.least else dtype)


class DrawError(ValueError):
    """An operand's draw that does not do what it must; one line."""


@dataclass(frozen=True)
class Values:
    """Inputs and parameters by name; a cotangent of the output's shape; what the layer says of each."""

    inputs: Tensors
    parameters: Tensors
    cotangent: Tensor
    operands: Mapping[str, Operand]

    def to(self, dtype: torch.dtype) -> Values:
        """The same values in another dtype; float64 of rounded values is what the oracle computes with."""

        def each(tensors: Tensors) -> Tensors:
            return {name: rounded(self.operands[name], t, dtype) for name, t in tensors.items()}

        return Values(each(self.inputs), each(self.parameters), self.cotangent.to(dtype), self.operands)

    def clone(self) -> Values:
        """The same values in memory of their own."""

        def each(tensors: Tensors) -> Tensors:
            return {name: t.clone() for name, t in tensors.items()}

        return Values(each(self.inputs), each(self.parameters), self.cotangent.clone(), self.operands)

    def leaves(self) -> Tensors:
        """Inputs as fresh leaves, which require a gradient where they are differentiable."""
        return self.requiring({name: x.detach().clone() for name, x in self.inputs.items()})

    def requiring(self, inputs: Tensors) -> Tensors:
        """Inputs, detached, those of which require a gradient that are differentiable."""
        return {name: x.detach().requires_grad_(self.operands[name].differentiable) for name, x in inputs.items()}

    def differentiable(self) -> Tensors:
        """The inputs that are differentiable."""
        return {name: x for name, x in self.inputs.items() if self.operands[name].differentiable}


def moved(tensor: Tensor, device: str) -> Tensor:
    """On a device, with the strides that it has: a plain copy makes contiguous what is not dense."""
    if tensor.device.type == device or tensor.is_contiguous():
        return tensor.to(device)
    if not tensor.numel():
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    extent = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((extent,), (1,)).to(device).as_strided(tensor.shape, tensor.stride(), 0)


def draw(
    layer: Layer, dims: Dims, dtype: torch.dtype, device: str, seed: int, parameters: Tensors | None = None
) -> Values:
    """Draw everything that one call of a layer needs; ``parameters`` are taken as they are where they are given.

    The cotangent is random and not uniform (unit normal): a backward that ignores it, or takes a mean where a sum
    belongs, shows. The same seed gives the same values on one kind of device.

    Raises:
        DrawError: an operand's draw gave something else than a tensor of its shape.
    """
    generator = torch.Generator(device=device).manual_seed(seed)

    inputs = _each(layer.inputs, dims, dtype, generator)
    if parameters is None:
        parameters = _each(layer.parameters, dims, dtype, generator)
    shape = tuple(dims[name] for name in layer.output)
    cotangent = torch.randn(shape, generator=generator, device=device).to(dtype)
    return Values(inputs, parameters, cotangent, layer.operands)


def draw_parameters(layer: Layer, dims: Dims, dtype: torch.dtype, device: str, seed: int) -> Tensors:
    """Draw the parameters alone.

    Raises:
        DrawError: see ``draw``.
    """
    return _each(layer.parameters, dims, dtype, torch.Generator(device=device).manual_seed(seed))


def _each(operands: Mapping[str, Operand], dims: Dims, dtype: torch.dtype, generator: torch.Generator) -> Tensors:
    return {name: rounded(o, _drawn(name, o, dims, generator), dtype) for name, o in operands.items()}


def _drawn(name: str, operand: Operand, dims: Dims, generator: torch.Generator) -> Tensor:
    sizes = operand.sizes(dims)
    found: object = operand.drawn(dims, generator)
    if not isinstance(found, Tensor):
        raise DrawError(f"the draw of {name} gave a {type(found).__name__}: give a tensor of shape {sizes}")
    if tuple(found.shape) != sizes:
        raise DrawError(f"the draw of {name} gave the shape {tuple(found.shape)}, not {sizes}")
    return found
