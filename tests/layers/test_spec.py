"""Mistakes in what an author fills in are refused at once, with the choices."""

import dataclasses
from typing import Any

import pytest
import torch

from harness import Operand, Strategy, Style
from implementations.affine import layer


def _forward() -> None: ...


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gradients": "Tape"}, "gradients 'Tape': choose from tape, func"),
        ({"devices": "cuda"}, "devices 'cuda': give a tuple"),
        ({"devices": ("gpu",)}, "devices 'gpu': choose from cpu, cuda"),
        ({"dtypes": ()}, "dtypes: give at least one of float64"),
        ({"needs": ("gcc",)}, "needs 'gcc': choose from compiler, triton"),
        ({"simplicity": "low"}, "simplicity 'low': give a whole number"),
        ({"forward": 3}, "forward must be a function or an nn.Module class"),
        ({"forward": torch.nn.Linear(2, 3)}, "forward is a module that is built already: give its class"),
    ],
)
def test_a_strategy_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Strategy(**{"forward": _forward, **fields})


@pytest.mark.parametrize(
    ("style", "message"),
    [
        (("red", "o"), "color 'red': give it as #RRGGBB"),
        (("#000000", "?"), "marker"),
        (("#000000", "o", "~"), "dash '~'"),
    ],
)
def test_a_style_is_checked(style: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Style(*style)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"check": ({"B": 1, "I": 1},)}, "must name each of B, I, O, gelu, and nothing else"),
        ({"check": ({"B": 1, "I": 1, "O": 1},)}, "must name each of B, I, O, gelu, and nothing else"),
        ({"check": ({"B": 1, "I": 1, "O": 1, "gelu": 2},)}, "gelu is 2, choose from 0, 1"),
        ({"check": ({"B": 1, "I": 1, "O": 1, "gelu": True},)}, "gelu is True, choose from 0, 1"),
        ({"check": layer.check[:1]}, "check has no size with gelu=0"),
        ({"first_layer": "x"}, "first_layer 'x': give True where the inputs are data"),
        ({"options": {}}, "must name each of B, I, O, and nothing else"),
        ({"options": {"Gelu": (0, 1)}}, "option 'Gelu': give it a Python name in lower case"),
        ({"options": {"ge lu": (0, 1)}}, "option 'ge lu': give it a Python name in lower case"),
        ({"options": {"bias": (0, 1)}}, "option 'bias': give it a Python name in lower case that no operand has"),
        ({"options": {"gelu": ()}}, "option gelu: give the whole numbers that it may be, each once"),
        ({"options": {"gelu": (0, 0)}}, "option gelu: give the whole numbers that it may be, each once"),
        ({"options": {"gelu": (False, True)}}, "option gelu: give the whole numbers that it may be, each once"),
        ({"inputs": {"x": Operand(("b", "I"), print)}}, "dim 'b': lower case is for options, so call it 'B'"),  # type: ignore[arg-type]
        ({"check": ()}, "check has 0 sizes"),
        ({"check": layer.check[0]}, "check must be a tuple of sizes"),
        ({"check": ({**layer.check[0], "I": 7.5},)}, "I is 7.5, give a whole number"),
        ({"inputs": ["x"]}, "inputs is a list: give a dict"),
        ({"sizes": {"quick": layer.check}}, "sizes must be a dict of dicts"),
        ({"task": 3}, "task is a int: give a Task"),
        ({"parameters": {}}, "at least one parameter"),
        ({"parameters": {"weight": Operand(("I", "O"), print, differentiable=False)}}, "cannot be trained"),  # type: ignore[arg-type]
    ],
)
def test_a_layer_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(layer, **fields)


def test_an_operand_is_checked() -> None:
    with pytest.raises(ValueError, match="least 'int8': choose from , float32"):
        Operand(("T",), print, least="int8")  # type: ignore[arg-type]
