"""The gate: properties that a strategy must have before it is timed.

A check yields ``Check`` records, one for each tensor; an exception from a strategy is the caller's to record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch._functorch.config
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from harness.layers.drawing import Values, draw
from harness.layers.gradients import build, vjp
from harness.layers.spec import Dims, Layer, Strategy
from harness.records.schema import Check, Result, dims_text
from harness.verify.kernels import launches
from harness.verify.oracle import DRAWS, FINAL_DRAWS, RETRY_BELOW, Pool


@dataclass(frozen=True)
class Subject:
    """A strategy under test, beside its layer and its layer's reference."""

    layer_name: str
    layer: Layer
    strategy_name: str
    strategy: Strategy
    reference: Strategy
    device: str

    def check(self, check: str, dtype: str, dims: Dims, tensor: str, result: Result, **more: object) -> Check:
        """A record of a check on this subject."""
        return Check(
            self.layer_name, self.strategy_name, check, dtype, self.device, dims_text(dict(dims)), tensor, result,
            **more,  # type: ignore[arg-type]
        )  # fmt: skip


class WrongAnswerError(Exception):
    """An output or gradient that is not even of the right kind; ``tensor`` is its name."""

    def __init__(self, tensor: str, detail: str) -> None:
        super().__init__(detail)
        self.tensor = tensor


def working_dtype(strategy: Strategy) -> str:
    """The dtype to train and to count launches in: float32, or the first that the strategy claims."""
    return "float32" if "float32" in strategy.dtypes else strategy.dtypes[0]


def tensor_names(layer: Layer) -> list[str]:
    """``output``, then the gradient of each input and parameter, as in reports."""
    return ["output", *(f"gradient of {name}" for name in layer.operands)]


def run(strategy: Strategy, layer: Layer, dims: Dims, values: Values) -> list[Tensor]:
    """Output, then the gradient of each input and parameter, for the values' cotangent.

    Raises:
        WrongAnswerError: a tensor that is missing, or of another shape, dtype or device than the layer states.
    """
    instance = build(strategy, dims, values.parameters)
    inputs = values.leaves()
    output, pullback = vjp(instance, inputs)
    tensors = [output, *pullback(values.cotangent)]
    wanted = [values.cotangent, *values.inputs.values(), *values.parameters.values()]
    for name, got, like in zip(tensor_names(layer), tensors, wanted, strict=True):
        for what in ("shape", "dtype", "device"):
            if getattr(got, what) != getattr(like, what):
                raise WrongAnswerError(name, f"{what} is {getattr(got, what)}, not {getattr(like, what)}")
    return tensors


def check_values(subject: Subject, dims: Dims, dtype: str, seed: int, draws: int = DRAWS) -> list[Check]:
    """Output and every gradient against the float64 oracle, by the rule of oracle.py.

    Args:
        seed: of the first draw; draw d has seed + d.
        draws: first look; what exceeds its bound by less than three times is drawn again, 64 times.
    """
    kind = getattr(torch, dtype)
    names = tensor_names(subject.layer)
    pools = [Pool(kind) for _ in names]
    for number in range(draws):
        values = draw(subject.layer, dims, kind, subject.device, seed + number)
        wide = values.to(torch.float64)
        oracle = run(subject.reference, subject.layer, dims, wide)
        reference = run(subject.reference, subject.layer, dims, values)
        try:
            tensors = run(subject.strategy, subject.layer, dims, values)
        except WrongAnswerError as wrong:
            return [subject.check("values", dtype, dims, wrong.tensor, "wrong", seed=seed + number, detail=str(wrong))]
        for pool, triple in zip(pools, zip(tensors, reference, oracle, strict=True), strict=True):
            pool.add(*triple)

    ratios = [pool.ratio() for pool in pools]
    if draws < FINAL_DRAWS and 1 < max(ratios) < RETRY_BELOW:
        return check_values(subject, dims, dtype, seed + draws, FINAL_DRAWS)
    return [
        subject.check(
            "values",
            dtype,
            dims,
            name,
            "ok" if ratio <= 1 else "wrong",
            error=pool.error,
            bound=pool.bound,
            reference_error=pool.reference_error,
            draws=draws,
            seed=seed,
            detail=_element(pool, ratio),
        )
        for name, pool, ratio in zip(names, pools, ratios, strict=True)
    ]


def _element(pool: Pool, ratio: float) -> str:
    worst, index = pool.worst_element()
    return f"element {index} is {worst:.3g} × its own bound" if worst == ratio and ratio > 1 else ""


def check_gradients(subject: Subject, dims: Dims, seed: int) -> Check:
    """``torch.autograd.gradcheck`` in float64, slow mode: analytic against numeric derivatives, entry by entry.

    Its defaults pass an error of 0.1 %, so rtol is 1e-6; atol is 1e-8, forty times the noise of a central difference
    (2⁻⁵² · |f| / 1e-6 ≈ 2e-10 for outputs near 1).
    """
    function, leaves = _as_function(subject, dims, seed)
    try:
        with _buffers_kept():
            torch.autograd.gradcheck(function, leaves, eps=1e-6, rtol=1e-6, atol=1e-8)
    except GradcheckError as error:
        return _gradcheck_record(subject, "gradcheck", dims, seed, "wrong", error)
    return _gradcheck_record(subject, "gradcheck", dims, seed, "ok")


def check_double_backward(subject: Subject, dims: Dims, seed: int) -> Check:
    """``torch.autograd.gradgradcheck`` in float64; a strategy that raises a clean error instead is ``unsupported``."""
    function, leaves = _as_function(subject, dims, seed)
    try:
        with _buffers_kept():
            torch.autograd.gradgradcheck(function, leaves, eps=1e-6, rtol=1e-6, atol=1e-8)
    except GradcheckError as error:
        return _gradcheck_record(subject, "double_backward", dims, seed, "wrong", error)
    except RuntimeError as error:
        return _gradcheck_record(subject, "double_backward", dims, seed, "unsupported", error)
    return _gradcheck_record(subject, "double_backward", dims, seed, "ok")


def _buffers_kept() -> AbstractContextManager[None]:
    """Compiled backwards that give up their buffers refuse the retained graphs that gradcheck walks again and again."""
    context: AbstractContextManager[None] = torch._functorch.config.patch(donated_buffer=False)
    return context


def _gradcheck_record(
    subject: Subject, check: str, dims: Dims, seed: int, result: Result, error: Exception | None = None
) -> Check:
    detail = " ".join(str(error).split())[:300] if error else ""
    return subject.check(check, "float64", dims, "all gradients", result, seed=seed, detail=detail)


def _as_function(subject: Subject, dims: Dims, seed: int) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The strategy as a function of positional float64 leaves, and the leaves."""
    values = draw(subject.layer, dims, torch.float64, subject.device, seed)
    instance = build(subject.strategy, dims, values.parameters)
    inputs = values.leaves()
    names = [*inputs, *instance.parameters]

    def function(*leaves: Tensor) -> Tensor:
        named = dict(zip(names, leaves, strict=True))
        parameters = {name: named[name] for name in instance.parameters}
        output: Tensor = instance.call(parameters, {name: named[name] for name in inputs})
        return output

    return function, (*inputs.values(), *instance.parameters.values())


def check_launches(subject: Subject, dims: Dims, seed: int) -> Iterator[Check]:
    """Every kernel that the strategy declares is really launched, in each pass that it is declared for."""
    kernels, dtype = subject.strategy.kernels, working_dtype(subject.strategy)
    values = draw(subject.layer, dims, getattr(torch, dtype), subject.device, seed)
    instance = build(subject.strategy, dims, values.parameters)
    with launches(kernels) as forward:
        _, pullback = vjp(instance, values.leaves())
    with launches(kernels) as backward:
        pullback(values.cotangent)
    for kernel in kernels:
        name = kernel.function.__name__
        for passed, counts in (("forward", forward), ("backward", backward)):
            if passed in kernel.passes:
                yield subject.check(
                    "launches", dtype, dims, f"{name} in {passed}", "ok" if counts[name] else "wrong", seed=seed,
                    detail=f"launched {counts[name]} times",
                )  # fmt: skip
