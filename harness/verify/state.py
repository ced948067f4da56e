"""Global state that a strategy must leave as it finds it: settings, random numbers, functions of torch and of Python.

What an import changes is told from what a call changes. A call must change nothing. An import may replace what the
harness does not use itself, as packages that wrap a function of torch do: that is named, and refused only where it is a
setting that decides numbers or times, or something that meter or judge rest on.
"""

from __future__ import annotations

import builtins
import gc
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Strategy
from harness.verify.probes import Answer, WrongAnswerError, gradients

Facts = dict[str, Any]
"""What was seen, by the name under which a report speaks of it."""

FLAGS = (
    "allow_tf32", "fp32_precision", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)  # fmt: skip
CLOCKS: tuple[ModuleType, ...] = (
    builtins, gc, resource, statistics, time, torch.cuda, torch.cuda.graphs, torch.cuda.memory, torch.cuda.streams,
)  # fmt: skip
"""Modules that the meter rests on whole."""
MODULES = (
    *CLOCKS, torch, torch.autograd, torch.func, torch.linalg, torch.nn.functional, torch.random, torch.testing,
)  # fmt: skip
CLASSES: tuple[type, ...] = (torch.cuda.CUDAGraph, torch.cuda.Event, torch.cuda.Stream, torch.cuda.graph)
"""Of the clocks of a GPU, whose methods are looked at one by one; so are those of ``torch.Tensor``."""


JUDGE = ("casts", "judging", "oracle", "probes", "reference", "terms")
OWN = (
    "harness.measure.", "harness.run.measuring", "harness.run.answers", "harness.layers.",
    *(f"harness.verify.{name}" for name in JUDGE),
)  # fmt: skip
"""Modules of the harness that a strategy shares a process with where it is timed."""


def settings() -> Facts:
    """What decides numbers or times of whatever runs in the process."""
    facts: Facts = {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.is_autocast_enabled()": torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch.backends.cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "torch.backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.set_flush_denormal()": (torch.tensor([5e-324], dtype=torch.float64) * 1).item(),
    }
    matmul = torch.backends.cuda.matmul
    return facts | {f"torch.backends.cuda.matmul.{name}": getattr(matmul, name, None) for name in FLAGS}


def generators() -> Facts:
    """Where the generators of random numbers stand."""
    return {
        "torch.get_rng_state()": hash(torch.get_rng_state().numpy().tobytes()),
        "torch.initial_seed()": torch.initial_seed(),
        "random.getstate()": hash(random.getstate()),
        "numpy.random.get_state()": hash(np.random.get_state()[1].tobytes()),  # type: ignore[index]
    }


def functions() -> Facts:
    """Which object stands under each name: functions of modules, methods of classes, inherited ones too."""
    facts = {
        f"{module.__name__}.{name}": id(thing)
        for module in MODULES
        for name, thing in vars(module).items()
        if callable(thing) and (not name.startswith("_") or (module in CLOCKS and not name.startswith("__")))
    }
    for kind in (torch.Tensor, *CLASSES):
        names = [n for n in dir(kind) if not n.startswith("_")]
        facts |= {f"{_name(kind)}.{n}": id(thing) for n in names if callable(thing := getattr(kind, n))}
    return facts


def own_functions() -> Facts:
    """Likewise of the modules that time and judge here, as far as they are loaded."""
    facts: Facts = {}
    for name, module in sorted(sys.modules.items()):
        if not name.startswith(OWN):
            continue
        kinds = {n: k for n, k in vars(module).items() if isinstance(k, type) and k.__module__ == name}
        places = {name: module, **{f"{name}.{n}": kind for n, kind in kinds.items()}}
        facts |= {
            f"{place}.{n}": id(thing) for place, holder in places.items() for n, thing in vars(holder).items()
            if callable(thing) or isinstance(thing, property)
        }  # fmt: skip
    return facts


def _name(kind: type) -> str:
    return "torch.Tensor" if kind is torch.Tensor else f"torch.cuda.{kind.__name__}"


def meter_state() -> Facts:
    """All but where the generators of random numbers stand, which nothing that is timed depends on."""
    return {**settings(), **functions(), **own_functions()}


def state() -> Facts:
    """All of it."""
    return {**meter_state(), **generators()}


_start: Facts = {}
_imported: Facts = {}


def remember_state() -> None:
    """Take the present state as the one that ``left_alone`` compares with: before any strategy is imported."""
    _start.clear()
    _imported.clear()
    _start.update(state())


@contextmanager
def importing() -> Iterator[None]:
    """Take what changes while this lasts as changed by an import."""
    before = state()
    yield
    _imported.update(changes(before, state()))


def changes(before: Facts, now: Facts) -> Facts:
    """What is otherwise than before, without what torch itself replaces: dynamo wraps functions when imported."""
    return {n: now.get(n) for n, value in before.items() if now.get(n) != value and not _by_torch_itself(n)}


def _by_torch_itself(name: str) -> bool:
    holder, _, attribute = name.rpartition(".")
    places: Facts = {m.__name__: m for m in MODULES} | {_name(kind): kind for kind in (torch.Tensor, *CLASSES)}
    code = getattr(getattr(places.get(holder), attribute, None), "__code__", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(torch.__file__).parent)


def is_used_by_harness(name: str) -> bool:
    """Tell whether meter or judge rest on something: a setting, a clock, a function that their code names."""
    if name in settings():
        return True
    if name in generators():
        return False
    holder, _, attribute = name.rpartition(".")
    clocks = {m.__name__ for m in CLOCKS} | {_name(kind) for kind in CLASSES}
    return holder in clocks or name.startswith(OWN) or attribute in _names_in_harness()


@cache
def _names_in_harness() -> frozenset[str]:
    """Names that the code of meter and judge looks up: global ones, and attributes."""
    root = Path(__file__).resolve().parents[1]
    files = [p for folder in ("measure", "layers") for p in (root / folder).glob("*.py")]
    files += [root / "run/measuring.py", root / "run/answers.py", *(root / "verify" / f"{n}.py" for n in JUDGE)]
    waiting: list[CodeType] = [compile(path.read_text(), path.name, "exec") for path in files]
    names: set[str] = set()
    while waiting:
        code = waiting.pop()
        names.update(code.co_names)
        waiting += [c for c in code.co_consts if isinstance(c, CodeType)]
    return frozenset(names)


def left_alone(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Global state is as it was before the strategy was imported, and after a call of it.

    Returns:
        A scalar 1 under the name of each thing that an import has changed and that the harness does not use.

    Raises:
        WrongAnswerError: a call has changed something, or an import something that the harness rests on.
    """
    before = {**_start, **_imported} if _start else state()
    gradients(strategy, dims, values)
    for name, value in changes(before, state()).items():
        what = f"was {before[name]}, is {value}" if name in settings() else "was changed"
        raise WrongAnswerError(name, f"{what} by a call: a strategy must leave global state alone")
    for name in _imported:
        if is_used_by_harness(name):
            raise WrongAnswerError(name, "was changed by its import, and what judges or times it rests on that")
    return {name: torch.tensor(1) for name in _imported}
