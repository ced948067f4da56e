"""Triton's interpreter as the gate uses it: quicker, with the same numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import torch
from harness.layers.drawing import draw
from harness.verify.interpreting import quicken
from harness.verify.judging import same_bits
from harness.verify.narrow_floats import widen
from harness.verify.probes import gradients
from implementations.rms_norm import layer
from implementations.rms_norm.triton import strategy
from triton.runtime import interpreter

widen()
calls, patch = [], interpreter._patch_lang
def counting(function):
    calls.append(function)
    return patch(function)
interpreter._patch_lang = counting

made, make = [], interpreter.tl.core.block_type.__init__
def making(self, *given):
    made.append(given)
    make(self, *given)
interpreter.tl.core.block_type.__init__ = making

def answer(dtype):
    calls.clear()
    made.clear()
    return gradients(strategy, layer.check[0], [draw(layer, layer.check[0], dtype, "cpu", 0)])

dtypes = (torch.float64, torch.bfloat16)
before = [answer(d) for d in dtypes]
assert len(calls) > 2, "the language is no longer patched anew at every call: quicken() is out of work"
assert len(made) > 100, "types are no longer made anew for every tensor: _remember_types() is out of work"
quicken()
for dtype in dtypes:
    answer(dtype)
after = [answer(d) for d in dtypes]
assert not calls, "still patched again"
assert not made, "types are still made again"
assert all(same_bits(b[n], a[n]) for b, a in zip(before, after) for n in b)
"""


def test_it_is_made_quicker_and_its_numbers_stay() -> None:
    pytest.importorskip("triton")
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("quick", [[], ["quick"]])
def test_narrow_types_are_computed_as_torch_computes_them(quick: list[str]) -> None:
    pytest.importorskip("triton")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.verify.narrow_kernels", *quick], cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    *differences, last = ran.stdout.splitlines() or [ran.stderr]
    assert not differences
    assert last == "asked 102", ran.stderr


STRICT = """
import torch
from harness.verify.interpreting import strict_memory
from harness.verify.narrow_floats import widen
from harness.verify.probes import WrongAnswerError
from tests.verify import narrow_kernels as small

widen()
whole, short = torch.ones(64), torch.ones(96)[:32]
for kernel in (small.by_block, small.described, small.accumulated):
    with strict_memory():
        kernel[(1,)](whole, whole, torch.zeros(64), N=64)
for kernel, operands in ((small.accumulated, (whole, whole, short[:1])), (small.described, (short, whole, whole))):
    try:
        with strict_memory():
            kernel[(1,)](*operands, N=64)
    except WrongAnswerError as error:
        print(error)
"""


def test_block_pointers_descriptors_and_atomics_are_watched_too() -> None:
    pytest.importorskip("triton")
    ran = subprocess.run(
        [sys.executable, "-c", STRICT], cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True,
        text=True,
    )  # fmt: skip
    beyond = "beyond the end of a tensor that a kernel was given"
    assert ran.stdout.splitlines() == [f"written {beyond}", f"read from {beyond}"], ran.stderr
