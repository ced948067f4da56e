"""Without cost and task: nothing is wrong with that."""

from harness import Layer, Operand, Strategy

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
