"""y = x w, at a size where the product costs something."""

from harness import Layer, Operand, Strategy


def forward(x, weight):
    return x @ weight


layer = Layer(
    title="matmul",
    formula="x w",
    inputs={"x": Operand(("N", "I"))},
    parameters={"weight": Operand(("I", "O"))},
    output=("N", "O"),
    check=({"N": 7, "I": 5, "O": 3}, {"N": 1, "I": 1, "O": 1}, {"N": 65, "I": 64, "O": 96}),
    leading="N",
    sizes={"cpu": {"quick": ({"N": 512, "I": 512, "O": 512},)}},
)
strategies = {"autograd": Strategy(forward)}
