"""Names as a notebook gives them; what is no name gets one line that says how to make it one."""

from pathlib import Path
from typing import Any

import pytest
import torch

import harness.notebook
from harness import Strategy
from harness.notebook import verify
from harness.notebook.given import folders, names
from harness.run.wanted import UsageError


def fast(x: Any, weight: Any) -> Any:
    """A strategy that lives in this session."""
    return x * weight


def test_one_name_several_or_none() -> None:
    assert names("layer", "wave") == ("wave",)
    assert names("layer", ["wave", "scale"]) == ("wave", "scale")
    assert names("layer", "") == names("layer", ()) == ()
    assert folders(Path("mine")) == folders("mine") == folders(["mine"]) == ("mine",)


@pytest.mark.parametrize(
    ("given", "shown", "name"),
    [
        (fast, "fast", "fast"),
        ([fast], "fast", "fast"),
        (lambda x: x, "<lambda>", "mine"),
        (torch.nn.Linear, "Linear", "Linear"),
        (torch.nn.Sequential(torch.nn.Tanh()), "<Sequential>", "mine"),
        (Strategy(fast), "<Strategy>", "mine"),
    ],
)
def test_what_is_no_name_is_to_be_written_to_a_file(given: Any, shown: str, name: str) -> None:
    with pytest.raises(UsageError) as error:
        verify(layer="wave", strategy=given)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"strategy={shown}")
    assert f"`%%writefile mine/wave/{name}.py`, with `strategy = Strategy(forward)` as its last line" in text
    assert text.endswith(f"pass from_=['mine'], strategy='{name}'")


def test_a_layer_that_is_no_name_is_told_where_layers_live() -> None:
    with pytest.raises(UsageError, match=r"%%writefile mine/my_layer/__init__\.py`, with `layer = Layer"):
        names("layer", object())


def test_other_names_are_asked_for_plainly() -> None:
    with pytest.raises(UsageError, match=r"^dtype=3: give a name or several$"):
        names("dtype", 3)  # type: ignore[arg-type]


def test_a_module_is_no_folder() -> None:
    with pytest.raises(UsageError, match="give the name of a package or the path of a folder"):
        folders(harness.notebook)  # type: ignore[arg-type]
