"""Linear map and cross-entropy: y = Σ −log softmax(x W + b)[label], over the rows whose label is not IGNORED.

    x [N, D], labels [N] (int64), W [D, C], b [C], y scalar; cotangent g
    dL/dz = g (softmax(z) − onehot(label)) for the rows that count, else 0, with z = x W + b [N, C]
    dL/dx = dL/dz Wᵀ        dL/dW = xᵀ dL/dz        dL/db = Σ_rows dL/dz

(The gradient of log-softmax, as in the documentation of ``torch.nn.functional.cross_entropy``.) A sum and not a mean,
so that a batch in which no label counts gives 0.
"""

import torch

from harness import Example, Layer, Operand, Task, integers

IGNORED = -100


def _labels(shape, generator, dims):
    """About a quarter of them ignored."""
    left_out = torch.rand(shape, generator=generator, device=generator.device) < 0.25
    return integers("C")(shape, generator, dims).masked_fill(left_out, IGNORED)


def _examples():
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).view(12, 2)
    labels = (x.sum(1) > 0).long()
    labels[::5] = IGNORED
    return [Example({"x": x, "labels": labels}, torch.zeros((), dtype=torch.float64))]


layer = Layer(
    title="linear map with cross-entropy",
    formula="y = Σ −log softmax(x W + b)[label]",
    inputs={"x": Operand(("N", "D")), "labels": Operand(("N",), _labels, dtype="int64", differentiable=False)},
    parameters={"weight": Operand(("D", "C")), "bias": Operand(("C",))},
    output=(),
    check=({"N": 7, "D": 5, "C": 3}, {"N": 1, "D": 1, "C": 1}, {"N": 33, "D": 17, "C": 11}),
    task=Task(
        title="tell two halves apart",
        source="made up",
        dims={"N": 12, "D": 2, "C": 2},
        examples=_examples,
        loss=lambda y, target: y,
        learning_rate=0.1,
        steps=40,
        naive="either half as likely",
        naive_loss=6.2,
        target_loss=3.0,
    ),
    leading="N",
)
