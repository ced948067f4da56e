"""Cross entropy of each row of scaled logits."""

import torch

from harness import Layer, Operand, Strategy, integers


def forward(x, labels, scale):
    z = x * scale
    return torch.logsumexp(z, -1) - z.gather(-1, labels[..., None])[..., 0]


layer = Layer(
    title="cross entropy",
    formula="lse(s x) - s x[label]",
    inputs={"x": Operand(("N", "V")), "labels": Operand(("N",), integers("V"), dtype="int64", differentiable=False)},
    parameters={"scale": Operand(())},
    output=("N",),
    check=({"N": 7, "V": 5}, {"N": 1, "V": 1}, {"N": 33, "V": 17}),
    leading="N",
)
strategies = {"autograd": Strategy(forward)}
