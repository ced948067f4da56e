"""Whether a layer can be used to judge by: its draws, and its reference run at its own sizes.

A strategy is held against the reference on the layer's values. Where these are not what the layer says, or not the same
twice, no comparison means anything, so it is looked at first, and said of the layer and not of a strategy.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.layers.calling import module_class, refuse_arguments
from harness.layers.drawing import Values, draw
from harness.layers.gradients import MissingGradientError, build
from harness.layers.spec import Cost, Dims, Layer, Strategy
from harness.records.dims import dims_text
from harness.records.schema import Status
from harness.verify.asking import status_of
from harness.verify.casts import oracle_answer
from harness.verify.probes import Answer, WrongAnswerError, gradients

STEADY = 1e-9
"""Relative difference that two runs in float64 may have by the order of their sums."""


class UnsoundLayerError(Exception):
    """A layer that cannot be judged by: one line that says what to mend, and the status that this means."""

    def __init__(self, reason: str, status: Status = "runtime_error") -> None:
        super().__init__(reason)
        self.status = status


def refuse_unsound(layer: Layer, reference: Strategy, device: str) -> None:
    """Draw the layer's values and run its reference, in float64, at each size of ``check``.

    Raises:
        UnsoundLayerError: the first thing that is not as it must be.
    """
    _refuse_cost(layer)
    for dims in layer.check:
        values = _drawn(layer, dims, device)
        _refuse_other_draws(values, _drawn(layer, dims, device))
        before = {name: x.clone() for name, x in values.inputs.items()}
        answer = _answered(layer, reference, dims, values)
        _refuse_what_is_not_finite(answer, dims)
        _refuse_writing(before, answer)
        again = _answered(layer, reference, dims, _drawn(layer, dims, device))
        _refuse_chance(reference, dims, values, answer, again)


def unasked(layer: Layer, reference: Strategy, device: str, dtype: str) -> str:
    """Why nothing can be asked in a dtype, found by trying the reference in it; empty where it can."""
    for dims in layer.check:
        values = draw(layer, dims, getattr(torch, dtype), device, 0)
        ask = partial(gradients, reference, dims, [values])
        try:
            why = oracle_answer(ask).unasked if dtype == "float64" else _nothing(ask())
        except Exception as error:  # noqa: BLE001 - a reference refuses a dtype with whatever it likes
            why = f"its reference takes no {dtype}: {status_of(error)[1]}"
        if why:
            return why
    return ""


def _nothing(_: Answer) -> str:
    return ""


def _refuse_cost(layer: Layer) -> None:
    for passed in ("forward", "backward") if layer.cost else ():
        assert layer.cost is not None
        try:
            found: Any = layer.cost(passed, layer.check[0])
        except Exception as error:
            raise UnsoundLayerError(f"its cost raised for {passed}: {status_of(error)[1]}") from error
        if not isinstance(found, Cost):
            raise UnsoundLayerError(f"its cost for {passed} is {type(found).__name__}: give Cost(flops, elements)")


def _drawn(layer: Layer, dims: Dims, device: str) -> Values:
    try:
        return draw(layer, dims, torch.float64, device, 0)
    except Exception as error:
        raise UnsoundLayerError(
            f"its values cannot be drawn at {dims_text(dict(dims))}: {status_of(error)[1]}"
        ) from error


def _refuse_other_draws(values: Values, again: Values) -> None:
    for name, x in {**values.inputs, **values.parameters}.items():
        if not torch.equal(x, {**again.inputs, **again.parameters}[name]) and not x.isnan().any():
            raise UnsoundLayerError(
                f"the draw of {name} differs between two calls with the same seed: draw from the generator that it is"
                " given (torch.randn(shape, generator=generator))"
            )


def _answered(layer: Layer, reference: Strategy, dims: Dims, values: Values) -> Answer:
    try:
        refuse_arguments(layer, reference)
        return oracle_answer(lambda: gradients(reference, dims, [values], afterwards=True)).answer
    except WrongAnswerError as error:
        raise UnsoundLayerError(f"its reference is wrong at {dims_text(dict(dims))}: {error.tensor} {error}") from None
    except MissingGradientError as error:
        raise UnsoundLayerError(f"in its reference {error}: an operand without one must say so") from None
    except Exception as error:
        raise UnsoundLayerError(f"its reference fails at {dims_text(dict(dims))}: {status_of(error)[1]}") from error


def _refuse_what_is_not_finite(answer: Answer, dims: Dims) -> None:
    for name, tensor in answer.items():
        if not name.endswith(" afterwards") and not tensor.isfinite().all():
            raise UnsoundLayerError(
                f"its reference's {name} is not finite at {dims_text(dict(dims))}, so nothing can be held against it:"
                " draw values at which it is (the draw of an Operand)"
            )


def _refuse_writing(before: dict[str, Tensor], answer: Answer) -> None:
    for name, x in before.items():
        if not torch.equal(x, answer[f"{name} afterwards"]) and not x.isnan().any():
            raise UnsoundLayerError(
                f"its reference writes over {name}, so no two calls are the same: for a module that keeps statistics"
                " call self.eval() in its constructor"
            )


def _refuse_chance(reference: Strategy, dims: Dims, values: Values, one: Answer, two: Answer) -> None:
    for name, tensor in one.items():
        scale = tensor.double().norm().item()
        if (tensor.double() - two[name].double()).norm().item() > STEADY * scale:
            raise UnsoundLayerError(
                f"its reference gives another {name} for the same values{_culprit(reference, dims, values)}: draw the"
                " mask or the seed outside and make it an input, or call self.eval() in the module's constructor"
            )


def _culprit(reference: Strategy, dims: Dims, values: Values) -> str:
    """The dropout in a module, where there is one."""
    if module_class(reference.forward) is None:
        return ""
    module = build(reference, dims, values.parameters).module
    assert module is not None
    found = [n or type(m).__name__ for n, m in module.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    return f" (dropout in {', '.join(found)})" if found else ""
