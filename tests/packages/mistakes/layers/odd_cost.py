"""Its cost is a number."""

from harness import Layer, Operand, Strategy

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
    cost=lambda passed, dims: 3,
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
