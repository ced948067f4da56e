"""y = (x * w)^2."""

from harness import Layer, Operand, Strategy


def forward(x, weight):
    return (x * weight) ** 2


layer = Layer(
    title="square",
    formula="(x w)^2",
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
    leading="N",
)
strategies = {"autograd": Strategy(forward)}
