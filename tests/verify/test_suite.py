"""The sizes that the gate asks at: options keep values that they may have, sizes shrink only where the layer allows."""

from dataclasses import replace

from harness import Layer, Operand
from harness.verify.arranging import random_dims
from harness.verify.sizes import (
    FEW_ROWS,
    STATED_FLOPS,
    all_aligned,
    each_option,
    few_rows,
    many_tiles,
    one_long,
    stated_sizes,
    too_much,
    turns,
)


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


def test_small_and_aligned_sizes_change_one_dim_after_the_other() -> None:
    layer = _layer()
    asked = [dims for dims, _, _ in turns(layer, ("float32",), "float32", interpreted=False)]
    for name in ("N", "I", "O"):
        for size in (1, 2, 8, 128):
            assert {**layer.check[0], name: size} in asked
    assert all_aligned(layer, interpreted=False) == [{"N": size, "I": size, "O": size, "heads": 8} for size in (8, 128)]


def test_aligned_sizes_come_in_every_dtype_and_where_calls_are_slow_in_turn() -> None:
    dtypes = ("float64", "float32", "bfloat16")
    for interpreted in (False, True):
        asked = list(turns(_layer(), dtypes, "float32", interpreted))
        assert {dtype for _, dtype, word in asked if word == "aligned"} == set(dtypes)
        assert {dtype for _, dtype, word in asked if word == "small"} == {"float32"}
    sizes = [dims for dims, _, word in asked if word == "aligned"]
    assert len(sizes) == len({tuple(dims.items()) for dims in sizes})


def test_stated_sizes_are_asked_once_and_what_is_much_is_said() -> None:
    small, large = ({"N": n, "I": 16, "O": 16, "heads": 8} for n in (64, 2**20))
    sizes = {"cpu": {"quick": (small,), "default": (small, large, _layer().check[0])}}
    layer = replace(_layer(), sizes=sizes)
    assert stated_sizes(layer, "cpu", ("quick", "default")) == [small, large]
    assert stated_sizes(layer, "cpu", ("quick",)) == [small]
    assert stated_sizes(layer, "cuda", ("quick",)) == []
    assert not too_much(layer, small, "cpu", interpreted=False)
    assert f"at most {STATED_FLOPS:.2g} are done" in too_much(layer, large, "cpu", interpreted=False)
    assert "interpreter" in too_much(layer, large, "cpu", interpreted=True)


def test_random_sizes_are_others_for_each_layer_and_the_same_each_time() -> None:
    layer = _layer()
    one, other, again = (random_dims(layer, name) for name in ("norm 0 0", "affine 0 0", "norm 0 0"))
    assert one == again != other
