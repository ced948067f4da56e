"""Arithmetic of bfloat16 and float8 in Triton's interpreter, which by itself computes on their raw bits.

A tensor of a narrow type holds float32 numbers here, rounded to nearest even whenever a tensor is made: so every
operation is computed in float32 and rounded once, as on a GPU. Bits are seen by loads, stores, atomics and bitcasts.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Narrow:
    """A floating-point type of which NumPy has none.

    Attributes:
        bits: the unsigned integers that hold it.
        widen: from bits to float32, exactly.
        narrow: from float32 to bits, to nearest even.
    """

    bits: Any
    widen: Callable[[Any], Any]
    narrow: Callable[[Any], Any]

    def rounded(self, wide: Any) -> Any:
        """The nearest numbers of the type, as float32."""
        return self.widen(self.narrow(wide))


def _bits_of_bfloat16(wide: Any) -> Any:
    bits = wide.view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), 0x7FC0, nearest).astype(np.uint16)


def _from_bfloat16(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _float8(kind: torch.dtype) -> Narrow:
    """A float8 type by torch's conversions; what is too large becomes the largest, as GPUs do (satfinite)."""
    largest = torch.finfo(kind).max

    def narrow(wide: Any) -> Any:
        return torch.from_numpy(np.clip(wide, -largest, largest)).to(kind).view(torch.uint8).numpy()

    def widen(bits: Any) -> Any:
        return torch.from_numpy(bits.copy()).view(kind).float().numpy()

    return Narrow(np.uint8, widen, narrow)


NARROW = {
    "bf16": Narrow(np.uint16, _from_bfloat16, _bits_of_bfloat16),
    "fp8e5": _float8(torch.float8_e5m2),
    "fp8e4nv": _float8(torch.float8_e4m3fn),
    "fp8e4b8": _float8(torch.float8_e4m3fnuz),
    "fp8e5b16": _float8(torch.float8_e5m2fnuz),
}
"""By the names of Triton's types."""
UNKNOWN = ("fp8e4b15",)


def _narrow(dtype: Any) -> Narrow | None:
    """The narrow type of a tensor's elements; None of any other.

    Raises:
        NotImplementedError: for a type that torch does not know either.
    """
    name = dtype.scalar.name
    if name in UNKNOWN:
        raise NotImplementedError(f"{name} not supported in interpreter mode")
    return NARROW.get(name)


def widen() -> None:
    """Make the interpreter of this process compute narrow types in float32; without Triton nothing is done."""
    if importlib.util.find_spec("triton") is None:
        return
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    _pass_scalars(interpreter)
    _hold_float32(interpreter)
    _see_bits(interpreter)
    _operate(interpreter)


def _pass_scalars(interpreter: Any) -> None:
    """A number given to a kernel is a float32 scalar there, as on a GPU, and not one that takes on any type."""
    convert, float32 = interpreter._implicit_cvt, interpreter.tl.float32

    def implicit_cvt(argument: Any) -> Any:
        if not isinstance(argument, float):
            return convert(argument)
        return interpreter.tl.tensor(interpreter.TensorHandle(np.array([argument], np.float32), float32), float32)

    interpreter._implicit_cvt = implicit_cvt


def _hold_float32(interpreter: Any) -> None:
    """Round whatever a tensor of a narrow type is made of, and make constants of such types in float32."""
    handle, dtype_of, check = (
        interpreter.TensorHandle,
        interpreter._get_np_dtype,
        interpreter.TensorHandle.__post_init__,
    )

    def rounded(self: Any) -> None:
        kind = _narrow(self.dtype)
        if kind is None:
            check(self)
        else:
            self.data = kind.rounded(self.data.astype(np.float32, copy=False))

    handle.__post_init__ = rounded
    interpreter._get_np_dtype = lambda dtype: np.dtype(np.float32) if dtype.scalar.name in NARROW else dtype_of(dtype)
    interpreter.InterpreterBuilder.get_bf16 = lambda self, value: handle(
        np.array([value], dtype=np.float32), interpreter.tl.bfloat16
    )


def _see_bits(interpreter: Any) -> None:
    """Loads, stores, atomics and bitcasts of narrow types go by their bits."""
    builder, handle, raw = interpreter.InterpreterBuilder, interpreter.TensorHandle, interpreter._interpreter
    load, store, bitcast = builder.create_masked_load, builder.create_masked_store, builder.create_bitcast
    add, swap = builder.create_atomic_rmw, builder.create_atomic_cas

    def bits(tensor: Any) -> Any:
        kind = None if tensor is None else _narrow(tensor.dtype)
        return tensor if kind is None else handle(kind.narrow(tensor.data), getattr(interpreter.tl, kind.bits.__name__))

    def create_masked_load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any, **more: Any) -> Any:
        element = pointers.get_element_ty()
        if (kind := _narrow(element)) is None:
            return load(self, pointers, mask, other, *rest, **more)
        given = np.zeros(pointers.data.shape, kind.bits) if other is None else kind.narrow(other.data)
        return handle(kind.widen(raw.load(pointers.data, mask.data, given, np.dtype(kind.bits))), element)

    def create_masked_store(self: Any, pointers: Any, value: Any, *rest: Any, **more: Any) -> Any:
        return store(self, pointers, bits(value), *rest, **more)

    def create_bitcast(self: Any, source: Any, target: Any) -> Any:
        if (kind := _narrow(target)) is None:
            return bitcast(self, bits(source), target)
        return handle(kind.widen(bits(source).data.view(kind.bits)), target.scalar)

    def create_atomic_cas(self: Any, pointer: Any, compared: Any, value: Any, *rest: Any) -> Any:
        found = swap(self, pointer, bits(compared), bits(value), *rest)
        kind = _narrow(value.dtype)
        return found if kind is None else handle(kind.widen(found.data), value.dtype)

    def create_atomic_rmw(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        if (kind := _narrow(value.dtype)) is None:
            return add(self, operation, pointers, value, mask, *rest)
        if operation != interpreter._ir.ATOMIC_OP.FADD:
            raise NotImplementedError(f"atomic {operation} of {value.dtype} not supported in interpreter mode")
        before = np.zeros(value.data.shape, np.float32)
        for at in zip(*np.nonzero(mask.data), strict=True):  # one after the other: addresses may be the same
            address, on = pointers.data[at].reshape(1), np.ones(1, bool)
            before[at] = kind.widen(raw.load(address, on, np.zeros(1, kind.bits), np.dtype(kind.bits)))[0]
            raw.store(address, kind.narrow((before[at] + value.data[at]).reshape(1)), on)
        return handle(before, value.dtype)

    builder.create_masked_load, builder.create_masked_store = create_masked_load, create_masked_store
    builder.create_bitcast = builder.create_int_to_ptr = builder.create_ptr_to_int = create_bitcast
    builder.create_atomic_cas, builder.create_atomic_rmw = create_atomic_cas, create_atomic_rmw


def _operate(interpreter: Any) -> None:
    """Operations that the interpreter does on bits, or otherwise than a GPU does."""
    builder, handle, ir = interpreter.InterpreterBuilder, interpreter.TensorHandle, interpreter._ir
    cast, convert, absolute = builder.cast_impl, builder.create_fp_to_fp, builder.create_fabs

    def is_narrow(*dtypes: Any) -> bool:
        return any(_narrow(dtype) is not None for dtype in dtypes)

    def binary_op(self: Any, left: Any, right: Any, operation: Any) -> Any:
        output = operation(left.data, right.data)
        dtype = interpreter.tl.int1 if output.dtype == np.bool_ else left.dtype.scalar
        kind = interpreter._get_np_dtype(dtype)
        return handle(output.astype(kind) if output.itemsize > kind.itemsize else output, dtype)

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        if not is_narrow(source.dtype, target):
            return cast(self, source, target)
        return handle(source.data.astype(interpreter._get_np_dtype(target)), target.scalar)

    def create_fp_to_fp(self: Any, source: Any, target: Any, rounding: Any) -> Any:
        if not is_narrow(source.dtype, target):
            return convert(self, source, target, rounding)
        if rounding == ir.ROUNDING_MODE.RTZ:
            if target.scalar.name != "bf16":
                raise NotImplementedError(f"rounding to zero to {target.scalar} not supported in interpreter mode")
            wide = source.data.astype(np.float32)
            return handle((wide.view(np.uint32) & 0xFFFF0000).view(np.float32), target.scalar)
        return cast_impl(self, source, target)

    def create_fabs(self: Any, argument: Any) -> Any:
        if not is_narrow(argument.dtype):
            return absolute(self, argument)
        return handle(np.abs(argument.data), argument.dtype.scalar)

    def create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        kind = z.data.dtype  # rounded once: the product of two halves is exact in float32
        wide = np.promote_types(kind, np.float32)
        return handle((x.data.astype(wide) * y.data + z.data).astype(kind, copy=False), z.dtype.scalar)

    def create_dot(self: Any, a: Any, b: Any, d: Any, *_: Any) -> Any:
        return handle(np.matmul(a.data, b.data, dtype=d.data.dtype) + d.data, d.dtype.scalar)

    def create_clampf(self: Any, argument: Any, low: Any, high: Any, propagate: Any) -> Any:
        if propagate == ir.PROPAGATE_NAN.ALL:
            return self.ternary_op(argument, low, high, np.clip)
        return self.ternary_op(argument, low, high, lambda x, lo, hi: np.fmin(np.fmax(x, lo), hi))

    builder.binary_op, builder.cast_impl = binary_op, cast_impl
    builder.create_fp_to_fp, builder.create_fabs = create_fp_to_fp, create_fabs
    builder.create_fma, builder.create_dot, builder.create_clampf = create_fma, create_dot, create_clampf
    # of a number and NaN the number, unless NaN is asked for
    builder.create_maxnumf = functools.partialmethod(binary_op, operation=np.fmax)
    builder.create_minnumf = functools.partialmethod(binary_op, operation=np.fmin)
