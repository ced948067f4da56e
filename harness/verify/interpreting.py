"""Triton's interpreter made strict about memory, as a GPU is not, and quicker; numbers are narrow_floats.py's business.

Strict: what would be undefined on a GPU shows here. An address that a kernel loads from or stores to must lie within
one of the tensors that it was given, from first to last element; where a mask is off, a load without ``other`` gives
NaN instead of the interpreter's 0.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from harness.verify.probes import WrongAnswerError


def quicken() -> None:
    """Spare the interpreter what it does again and again for nothing; three quarters of its time.

    It puts its own functions in the place of ``triton.language``'s at every launch and at every call of a device
    function, and takes them back after the launch: here they stay. It works out whether each sum and product of
    integers overflows, to throw that away where kernels are not debugged. And for each tensor it makes the same few
    types and shapes anew. Without Triton nothing is done.
    """
    if importlib.util.find_spec("triton") is None:
        return
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    language, patch = interpreter.tl, interpreter._patch_lang
    patched: set[frozenset[int]] = set()

    def patch_once(function: Any) -> Any:
        seen = frozenset(id(x) for x in function.__globals__.values() if x is language or x is language.core)
        if seen not in patched:
            patch(function)
            patched.add(seen)
            # Triton 3.6 takes int() of an array of one, which NumPy 2.4 refuses
            language.tensor.__index__ = lambda self: self.handle.data.item()
        return interpreter._LangPatchScope()  # of nothing: nothing to take back

    interpreter._patch_lang = patch_once
    builder = interpreter.interpreter_builder
    if not builder.options.debug:
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
    _remember_types(interpreter)


def _remember_types(interpreter: Any) -> None:
    """Make each block type, each shape of a tensor and each table of NumPy's types once."""
    core, dtype_of = interpreter.tl.core, functools.cache(interpreter._get_np_dtype)
    make_block, make_tensor = core.block_type.__init__, core.tensor.__init__
    blocks: dict[tuple[Any, ...], dict[str, Any]] = {}
    shapes: dict[tuple[int, ...], tuple[Any, Any]] = {}
    pointers = np.dtype(np.uint64)

    def block(self: Any, element_ty: Any, shape: Any) -> None:
        key = (element_ty.name, *(getattr(size, "value", size) for size in shape))
        if key not in blocks:
            make_block(self, element_ty, shape)
            blocks[key] = vars(self).copy()
        vars(self).update(blocks[key], element_ty=element_ty)

    def tensor(self: Any, handle: Any, type: Any) -> None:
        key = tuple(type.shape) if type.is_block() else ()
        if key not in shapes:
            make_tensor(self, handle, type)
            shapes[key] = self.shape, self.numel
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = shapes[key]

    core.block_type.__init__, core.tensor.__init__ = block, tensor
    interpreter._get_np_dtype = lambda type: pointers if type.scalar.is_ptr() else dtype_of(type.scalar)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, outermost first: the interpreter wraps what a kernel raises."""
    while error is not None:
        yield error
        error = error.__cause__


NO_GPU = re.compile(r"active drivers|not compiled with CUDA|NVIDIA driver|No CUDA GPUs|CUDA driver version")
"""In messages of Triton and torch where something asks for a GPU that is not there."""


INTERPRETER = ("triton.runtime.interpreter", "harness.verify.narrow_floats", "harness.verify.libdevice")


def not_interpreted(error: BaseException) -> str:
    """The feature that a kernel asks for and only a GPU has, in a line; empty for any other error."""
    if not os.environ.get("TRITON_INTERPRET"):
        return ""
    for each in causes(error):
        text = next(iter(str(each).splitlines()), "")
        unknown = isinstance(each, AttributeError) and "'InterpreterBuilder' object has no attribute" in text
        if isinstance(each, NotImplementedError) and _within_interpreter(each):
            return text
        if unknown:
            return f"{text.rpartition(' ')[2]} not supported in interpreter mode"
        if isinstance(each, RuntimeError | AssertionError) and NO_GPU.search(text):
            return text
    return ""


def _within_interpreter(error: BaseException) -> bool:
    """Tell whether the interpreter itself raised an error, or what the harness has put into it."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "") in INTERPRETER


def extent(tensor: Tensor) -> tuple[int, int]:
    """Addresses of the first byte of a tensor and of the one after its last, by its strides."""
    start = tensor.data_ptr()
    if tensor.numel() == 0:
        return start, start
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + (last + 1) * tensor.element_size()


BEYOND = "{} beyond the end of a tensor that a kernel was given"


@contextmanager
def strict_memory() -> Iterator[None]:
    """While this lasts the interpreter is strict; without one, nothing changes.

    Raises:
        WrongAnswerError: after the block, when a kernel went beyond its tensors.
    """
    interpreter: Any = sys.modules.get("triton.runtime.interpreter")
    if interpreter is None:
        yield
        return
    builder = interpreter.InterpreterBuilder
    convert, load, store = interpreter._implicit_cvt, builder.create_masked_load, builder.create_masked_store
    add, swap = builder.create_atomic_rmw, builder.create_atomic_cas
    given: list[tuple[int, int]] = []
    beyond: list[str] = []

    def implicit_cvt(argument: Any) -> Any:
        if isinstance(argument, Tensor):
            given.append(extent(argument))
        return convert(argument)

    def inside(pointers: Any, mask: Any, what: str) -> Any:
        """The mask, off also where an address is none of a tensor's: a process would end there, or go on unseen."""
        on = _on(mask)
        size = pointers.get_element_ty().primitive_bitwidth // 8
        owned = np.zeros(on.shape, dtype=bool)
        for start, end in given:
            owned |= (pointers.data >= start) & (pointers.data + size <= end)
        if not (owned | ~on).all():
            beyond.append(what)
        return interpreter.TensorHandle(on & owned, interpreter.tl.int1)

    def create_masked_load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any, **more: Any) -> Any:
        loaded = load(self, pointers, inside(pointers, mask, "read from"), other, *rest, **more)
        if other is None and loaded.data.dtype.kind == "f":
            loaded.data[~_on(mask)] = float("nan")
        return loaded

    def create_masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        return store(self, pointers, value, inside(pointers, mask, "written"), *rest)

    def create_atomic_rmw(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        return add(self, operation, pointers, value, inside(pointers, mask, "written"), *rest)

    def create_atomic_cas(self: Any, pointers: Any, *rest: Any) -> Any:
        if not inside(pointers, np.ones(pointers.data.shape, dtype=bool), "written").data.all():
            raise WrongAnswerError("memory", BEYOND.format("written"))  # it takes no mask
        return swap(self, pointers, *rest)

    interpreter._implicit_cvt = implicit_cvt
    builder.create_masked_load, builder.create_masked_store = create_masked_load, create_masked_store
    builder.create_atomic_rmw, builder.create_atomic_cas = create_atomic_rmw, create_atomic_cas
    try:
        yield
    finally:
        interpreter._implicit_cvt = convert
        builder.create_masked_load, builder.create_masked_store = load, store
        builder.create_atomic_rmw, builder.create_atomic_cas = add, swap
    if beyond:
        raise WrongAnswerError("memory", BEYOND.format(beyond[0]))


def _on(mask: Any) -> Any:
    """A mask as an array: block pointers and descriptors come with one, all else with a tensor of the interpreter."""
    return np.asarray(mask if isinstance(mask, np.ndarray) else mask.data, dtype=bool)
