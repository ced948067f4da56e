"""Probes that put something around a strategy: a compiler, a checkpoint, a module, two processes, gradcheck."""

from __future__ import annotations

import copy
import gc
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from harness.layers.calling import by_name, call_module, parameters_of, places_of
from harness.layers.drawing import Values
from harness.layers.gradients import Tensors, build, vjp
from harness.layers.spec import Dims, Strategy, options_of
from harness.verify.derivatives import buffers_kept
from harness.verify.kernels import launches
from harness.verify.probes import (
    Answer,
    WrongAnswerError,
    differentiable,
    frozen,
    gradients,
    leaves,
    named,
    walk,
)

RENDEZVOUS_SECONDS = 60
STEP = 1e-6
"""Of a derivative by differences."""
AGAIN = "compiled again"


def compile_around(strategy: Strategy, dims: Dims, values: Sequence[Values], backend: str) -> Answer:
    """Gradients of the last of several calls of a function that ``torch.compile(fullgraph=True)`` has compiled.

    A graph break is an error. Under ``AGAIN`` stands how often it was compiled anew for tensors that differ in their
    numbers only.
    """
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend(backend)
    instance = build(strategy, dims, values[0].parameters)
    wanted = tuple(values[0].differentiable())

    def function(parameters: Tensors, inputs: Tensors) -> Tensor:
        output: Tensor = instance.pure(parameters, inputs)
        return output

    def slopes(parameters: Tensors, inputs: Tensors, cotangent: Tensor) -> tuple[Tensor, Tensors]:
        free = {n: inputs[n] for n in wanted}
        output, pull, *_ = torch.func.vjp(lambda p, x: function(p, {**inputs, **x}), parameters, free)
        of_parameters, of_inputs = pull(cotangent)
        return output, {**of_inputs, **of_parameters}

    torch.compiler.reset()
    outer = slopes if instance.gradients == "func" else function
    compiled: Any = torch.compile(outer, fullgraph=True, dynamic=False, backend=counter)
    answer: Answer = {}
    graphs = 0
    for number, each in enumerate(values):
        inputs, parameters = leaves(each), {n: p.detach().requires_grad_() for n, p in each.parameters.items()}
        if instance.gradients == "func":
            output, found = compiled(each.parameters, each.inputs, each.cotangent)
        else:
            output = compiled(parameters, inputs)
            operands = {**differentiable(inputs), **parameters}
            grads = torch.autograd.grad(output, list(operands.values()), each.cotangent)
            found = dict(zip(operands, grads, strict=True))
        answer = {"output": output.detach()} | {f"gradient of {n}": g for n, g in found.items()}
        if number <= 1:  # what is made at a first call may be met anew at the second
            graphs = counter.frame_count
    torch.compiler.reset()
    return answer | {AGAIN: torch.tensor(counter.frame_count - graphs)}


def autocast(strategy: Strategy, dims: Dims, values: Sequence[Values], mixed: bool) -> Answer:
    """Forward under bfloat16 autocast, backward outside of it, as PyTorch's documentation asks.

    Args:
        mixed: whether the inputs come in bfloat16, as from a layer before that autocast has cast.
    """
    (mine,) = values
    device = mine.cotangent.device.type
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine.to(torch.bfloat16) if mixed else mine)
    with torch.autocast(device, torch.bfloat16):
        output, pullback = vjp(instance, inputs)
    if output.dtype not in (torch.bfloat16, mine.cotangent.dtype):
        raise WrongAnswerError("output", f"dtype is {output.dtype} under bfloat16 autocast")
    grads = pullback(mine.cotangent.to(output.dtype))
    operands = {**differentiable(inputs), **instance.parameters}
    answer = {"output": output.detach()} | named(list(operands), grads)
    for name, operand in operands.items():
        if answer[f"gradient of {name}"].dtype != operand.dtype:
            raise WrongAnswerError(f"gradient of {name}", f"dtype is not the operand's {operand.dtype} under autocast")
    return {name: t.to(mine.cotangent.dtype) for name, t in answer.items()}


def checkpointed(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Output and gradients where the forward is run again in the backward (``torch.utils.checkpoint``)."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    inputs = leaves(mine)
    output = checkpoint(lambda x: instance.call(instance.parameters, x), inputs, use_reentrant=False)
    return {"output": output.detach()} | walk(output, {**differentiable(inputs), **instance.parameters}, mine.cotangent)


class Wrapped(nn.Module):
    """A strategy as a module of a user's: the parameters are registered, the forward is the strategy's.

    It holds the strategy's own forward and nothing of the harness that could not be pickled.
    """

    def __init__(self, strategy: Strategy, dims: Dims, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        instance = build(strategy, dims, parameters)
        self.inner = instance.module
        self.function, self.options = strategy.forward, options_of(dims)
        if instance.module is None:
            for name, value in instance.parameters.items():
                self.register_parameter(name, nn.Parameter(value.detach()))

    def named(self) -> dict[str, nn.Parameter]:
        """The layer's parameters by the layer's names."""
        return parameters_of(self if self.inner is None else self.inner)

    def forward(self, **inputs: Tensor) -> Tensor:
        if self.inner is not None:
            output: Tensor = call_module(self.inner, places_of(self.inner), inputs)
        else:
            output = by_name(self.function)(**inputs, **self.named(), **self.options)
        return output


def copied(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """A deep copy, its pickled copy, and a new module that loads its state: the originals are wiped in between."""
    mine, other = values
    first = Wrapped(strategy, dims, mine.parameters)
    second = copy.deepcopy(first)
    _wipe(first)
    text = pickle.dumps(second)
    _wipe(second)
    third: Wrapped = pickle.loads(text)
    fourth = Wrapped(strategy, dims, other.parameters)
    fourth.load_state_dict(third.state_dict())
    _wipe(third)
    inputs = leaves(mine)
    output = fourth(**inputs)
    named = fourth.named()
    operands = {**differentiable(inputs), **{n: named[n] for n in mine.parameters}}
    return {"output": output.detach()} | walk(output, operands, mine.cotangent)


def _wipe(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(torch.nan)


def data_parallel(strategy: Strategy, dims: Dims, values: Sequence[Values], rank: int, meeting: str) -> Answer:
    """One of two gloo processes of ``DistributedDataParallel``, each with inputs of its own; gradients are means.

    Args:
        meeting: path of the file by which the processes find each other.
    """
    world = len(values)
    limit = timedelta(seconds=RENDEZVOUS_SECONDS)
    dist.init_process_group("gloo", f"file://{meeting}", limit, world_size=world, rank=rank)
    try:
        return _mean_gradients(strategy, dims, values[rank], values[0])
    finally:
        gc.collect()  # DistributedDataParallel must be gone before its process group is, or it waits for ever
        dist.destroy_process_group()


def _mean_gradients(strategy: Strategy, dims: Dims, mine: Values, first: Values) -> Answer:
    module = Wrapped(strategy, dims, first.parameters)
    parallel = DistributedDataParallel(module)  # held until the backward is through: its hooks die with it
    parallel(**leaves(mine)).backward(mine.cotangent)
    named = module.named()
    answer = {}
    for name in mine.parameters:
        gradient = named[name].grad
        if gradient is None:
            raise WrongAnswerError(f"gradient of {name}", "did not reach .grad under DistributedDataParallel")
        answer[f"mean gradient of {name}"] = gradient.clone()
    return answer


def mean_of_both(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """The truth of ``data_parallel``."""
    from harness.verify.probes import gradients

    parameters = values[0].parameters
    each = [gradients(strategy, dims, [replace(v, parameters=parameters)]) for v in values]
    return {f"mean gradient of {n}": torch.stack([a[f"gradient of {n}"] for a in each]).mean(0) for n in parameters}


def gradcheck(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """``torch.autograd.gradcheck`` in float64, slow mode: analytic against numeric derivatives, entry by entry.

    Its defaults pass an error of 0.1 %, so rtol is 1e-6; atol is 1e-8, forty times the noise of a central difference
    (2⁻⁵² · |f| / 1e-6 ≈ 2e-10 for outputs near 1). It also sends undefined cotangents.

    Returns:
        A scalar 1 under the name of each operand whose gradient is no derivative because there is none: the output does
        not change with it by small steps, as behind a rounding.

    Raises:
        WrongAnswerError: another gradient is not the derivative.
    """
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    operands = {**leaves(mine), **instance.parameters}

    def function(*tensors: Tensor) -> Tensor:
        named = dict(zip(operands, tensors, strict=True))
        output: Tensor = instance.call({n: named[n] for n in instance.parameters}, {n: named[n] for n in mine.inputs})
        return output

    flat: Answer = {}
    while asked := [name for name, t in operands.items() if t.requires_grad]:  # which it counts its inputs by
        try:
            with buffers_kept():
                torch.autograd.gradcheck(function, tuple(operands.values()), eps=STEP, rtol=1e-6, atol=1e-8)
            break
        except GradcheckError as error:
            tensor, why = _without_numbers(str(error), asked)
            name = tensor.removeprefix("gradient of ")
            if name not in operands or not _is_flat(function, operands, name):
                raise WrongAnswerError(tensor, why) from None
            flat[name] = torch.tensor(1)
            operands[name].requires_grad_(False)
    return flat


def _is_flat(function: Callable[..., Tensor], operands: Tensors, name: str) -> bool:
    """Tell whether the output stays the same, bit for bit, for three small steps of all of an operand."""
    with torch.no_grad():
        output = function(*operands.values())
        for seed in range(3):
            chance = torch.Generator(operands[name].device).manual_seed(seed)
            step = torch.empty_like(operands[name]).normal_(0, STEP, generator=chance)
            moved = {**operands, name: operands[name] + step}
            if not torch.equal(function(*moved.values()), output):
                return False
    return True


def _without_numbers(text: str, names: Sequence[str]) -> tuple[str, str]:
    """What is wrong by the message of a GradcheckError, and how, without the matrices that it prints."""
    line = " ".join(text.partition("numerical:")[0].split()).rstrip(" ,")
    found = re.search(r"with respect to input (\d+)", line)
    tensor = f"gradient of {names[int(found[1])]}" if found else "all gradients"
    return tensor, f"is not the derivative by differences: {line}"[:300]


def described(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Gradients, while each custom op's description for the compiler (its fake) is held against what it does."""
    with _held_against_their_fakes():
        return gradients(strategy, dims, values)


def described_frozen(strategy: Strategy, dims: Dims, values: Sequence[Values], wanted: Sequence[str]) -> Answer:
    """The same while some operands are frozen."""
    with _held_against_their_fakes():
        return frozen(strategy, dims, values, wanted)


@contextmanager
def _held_against_their_fakes() -> Iterator[None]:
    """``CrossRefFakeMode`` runs every op on fake tensors too, and compares shape, dtype, strides and aliasing.

    Raises:
        WrongAnswerError: a custom op's differ.
    """
    from torch._subclasses.fake_tensor import MetadataMismatchError
    from torch._subclasses.fake_utils import CrossRefFakeMode

    def not_ours(op: Any) -> bool:
        return op.namespace in ("aten", "prims", "prim")

    try:
        with CrossRefFakeMode(ignore_op_fn=not_ours, only_check_ops_with_meta=False):
            yield
    except MetadataMismatchError as error:
        raise WrongAnswerError("description", " ".join(str(error).split())[:300]) from None


def kernel_launches(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """How often each declared kernel was launched, as ``kernel in pass``: scalars."""
    (mine,) = values
    instance = build(strategy, dims, mine.parameters)
    with launches(strategy.kernels) as forward:
        _, pullback = vjp(instance, leaves(mine))
    with launches(strategy.kernels) as backward:
        pullback(mine.cotangent)
    return {
        f"{kernel.name} in {name}": torch.tensor(counts[kernel.name])
        for kernel in strategy.kernels
        for name, counts in (("forward", forward), ("backward", backward))
        if name in kernel.passes
    }
