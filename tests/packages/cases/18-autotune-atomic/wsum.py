"""y = sum of x * w over everything."""

from harness import Layer, Operand, Strategy


def forward(x, weight):
    return (x * weight).sum()


layer = Layer(
    title="sum",
    formula="sum x w",
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=(),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
    leading="N",
)
strategies = {"autograd": Strategy(forward)}
