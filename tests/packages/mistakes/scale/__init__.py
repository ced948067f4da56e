"""y = x · w: a sound layer, for whose strategies their authors made mistakes."""

from harness import Layer, Operand

layer = Layer(
    inputs={"x": Operand(("N", "D"))},
    parameters={"weight": Operand(("D",))},
    output=("N", "D"),
    check=({"N": 7, "D": 5}, {"N": 1, "D": 1}, {"N": 33, "D": 17}),
    leading="N",
)
