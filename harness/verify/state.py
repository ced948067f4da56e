"""Global state that a strategy must leave as it finds it."""

from __future__ import annotations

import builtins
import random
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.layers.drawing import Values
from harness.layers.spec import Dims, Strategy
from harness.verify.probes import Answer, WrongAnswerError, gradients

FLAGS = (
    "allow_tf32", "fp32_precision", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)  # fmt: skip
PATCHABLE: tuple[ModuleType, ...] = (
    builtins, time, torch, torch.autograd, torch.func, torch.linalg, torch.nn.functional, torch.random, torch.testing,
)  # fmt: skip


def state() -> dict[str, Any]:
    """What a strategy must leave as it finds it, by the name under which a report speaks of it."""
    facts: dict[str, Any] = {
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
        "torch.get_rng_state()": hash(torch.get_rng_state().numpy().tobytes()),
        "torch.initial_seed()": torch.initial_seed(),
        "random.getstate()": hash(random.getstate()),
        "numpy.random.get_state()": hash(np.random.get_state()[1].tobytes()),  # type: ignore[index]
        "torch.set_flush_denormal()": (torch.tensor([5e-324], dtype=torch.float64) * 1).item(),
    }
    for name in FLAGS:
        facts[f"torch.backends.cuda.matmul.{name}"] = getattr(torch.backends.cuda.matmul, name, None)
    facts |= {f"torch.Tensor.{n}": id(f) for n, f in vars(torch.Tensor).items() if callable(f) and n[:1] != "_"}
    for module in PATCHABLE:
        facts |= {f"{module.__name__}.{n}": id(f) for n, f in vars(module).items() if callable(f) and n[0] != "_"}
    return facts


_found: dict[str, Any] = {}


def remember_state() -> None:
    """Take the present state as the one that ``left_alone`` compares with: before any strategy is imported."""
    _found.clear()
    _found.update(state())


def _by_torch_itself(name: str) -> bool:
    """Whether what now stands under a name is torch's own: dynamo wraps some functions when it is first imported."""
    module, _, attribute = name.rpartition(".")
    places: dict[str, Any] = {m.__name__: m for m in PATCHABLE} | {"torch.Tensor": torch.Tensor}
    holder = places.get(module)
    code = getattr(getattr(holder, attribute, None), "__code__", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(torch.__file__).parent)


def left_alone(strategy: Strategy, dims: Dims, values: Sequence[Values]) -> Answer:
    """Global state is as it was before the strategy was imported, and after a call of it."""
    before = dict(_found) or state()
    gradients(strategy, dims, values)
    now = state()
    for name, value in before.items():
        if now.get(name) != value and not _by_torch_itself(name):
            what = f"was {value}, is {now.get(name)}" if name.endswith(")") and "state" not in name else "was changed"
            raise WrongAnswerError(name, f"{what}: a strategy must leave global state alone")
    return {}
