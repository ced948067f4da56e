"""y = x / max(|x|, eps) * w."""

import torch

from harness import Layer, Operand, Strategy


def forward(x, weight):
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6) * weight


def padded(shape, generator):
    x = torch.randn(shape, generator=generator, device=generator.device)
    x[1::3] = 0  # padded rows
    return x


layer = Layer(
    title="l2 norm",
    formula="x / max(|x|, eps) w",
    inputs={"x": Operand(("N", "D"), padded)},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
    leading="N",
)
strategies = {"autograd": Strategy(forward)}
