"""``triton.language.extra.libdevice`` in Triton's interpreter, where its functions are stubs that answer None.

Those that torch has too are torch's there; the others raise, so that a kernel which needs one is told apart.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

import numpy as np
import torch

SAME = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "erf", "erfc",
    "erfinv", "exp", "exp2", "expm1", "floor", "fmax", "fmin", "fmod", "hypot", "lgamma", "log", "log10", "log1p",
    "log2", "pow", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "isnan", "isinf",
)  # fmt: skip
FUNCTIONS = {name: getattr(torch, name) for name in SAME} | {
    "fabs": torch.abs,
    "rint": torch.round,
    "nearbyint": torch.round,
    "normcdf": torch.special.ndtr,
}
"""By the names of libdevice, without the prefix and without the f of float32."""


def fill_in() -> None:
    """Put functions that answer in the place of the stubs of this process; without Triton nothing is done."""
    if importlib.util.find_spec("triton") is None:
        return
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    stubs: Any = importlib.import_module("triton.language.extra.libdevice")
    cuda: Any = importlib.import_module("triton.language.extra.cuda.libdevice")
    interpreter.InterpreterBuilder.create_extern_elementwise = _elementwise
    for name, function in list(vars(cuda).items()):
        if interpreter.tl.core.is_builtin(function):
            answering = functools.partial(function, _semantic=interpreter.interpreter_semantic)
            setattr(cuda, name, answering)
            if hasattr(stubs, name):
                setattr(stubs, name, answering)


def _elementwise(self: Any, library: str, path: str, symbol: str, arguments: Any, kind: Any, pure: bool) -> Any:
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    function = FUNCTIONS.get(name) or FUNCTIONS.get(name.removesuffix("f"))
    if function is None:
        raise NotImplementedError(f"libdevice's {name} not supported in interpreter mode")
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    found = function(*(torch.from_numpy(np.ascontiguousarray(a.data)) for a in arguments))
    return interpreter.TensorHandle(found.numpy().astype(interpreter._get_np_dtype(kind)), kind.scalar)
