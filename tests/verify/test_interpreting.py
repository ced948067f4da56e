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
from harness.verify.probes import gradients
from implementations.rms_norm import layer
from implementations.rms_norm.triton import strategy
from triton.runtime import interpreter

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
