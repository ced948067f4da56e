"""A parameter that is not differentiable."""

from harness import Layer, Operand, Strategy

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",), differentiable=False)},
    output=("N", "D"),
    check=({"N": 7, "D": 5},),
)
strategies = {"autograd": Strategy(lambda x, weight: x * weight)}
