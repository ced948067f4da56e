"""The sizes that the gate asks at: options keep values that they may have, sizes shrink only where the layer allows."""

from harness import Layer, Operand
from harness.verify.sizes import FEW_ROWS, each_option, few_rows, many_tiles, one_long


def _layer() -> Layer:
    return Layer(
        inputs={"x": Operand(("N", "I"))},
        parameters={"w": Operand(("I", "O"))},
        output=("N", "O"),
        check=({"N": 7, "I": 13, "O": 5, "heads": 8}, {"N": 1, "I": 1, "O": 1, "heads": 4}),
        options={"heads": (4, 8)},
        leading="N",
    )


def test_an_option_keeps_a_value_that_it_may_have() -> None:
    layer = _layer()
    assert few_rows(layer) == {"N": FEW_ROWS, "I": FEW_ROWS, "O": 5, "heads": 8}
    assert [dims["heads"] for dims in each_option(layer)] == [8, 4]
    asked = [*many_tiles(layer), *one_long(layer)]
    assert asked
    assert {dims["heads"] for dims in asked} == {8}


def test_sizes_stay_where_the_layer_cannot_have_fewer() -> None:
    gap = {"y": Operand(lambda dims: (dims["N"] - 6,)), "x": Operand(("N", "I"))}
    layer = Layer(
        inputs=gap,
        parameters={"w": Operand(("I", "O"))},
        output=("N", "O"),
        check=({"N": 7, "I": 13, "O": 5},),
    )
    assert few_rows(layer) == layer.check[0]
