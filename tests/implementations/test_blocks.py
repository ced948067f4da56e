"""Affine's products by blocks: where they are taken, in Triton's interpreter; their numbers are in test_false_alarms."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import json, sys
import torch
from harness.layers.discover import load, scan
from harness.verify.kernels import launches

(entry,) = [e for e in scan(["implementations"]) if (e.layer, e.strategy) == ("affine", "triton")]
strategy = load(entry).value
found = []
for dtype, (b, i, o), gelu, turned in json.loads(sys.argv[1]):
    draw = lambda *shape: torch.randn(*shape).to(getattr(torch, dtype)).requires_grad_()
    x, weight, bias = draw(b, i), draw(o, i).T if turned else draw(i, o), draw(o)
    with launches(strategy.kernels) as forward:
        y = strategy.forward(x, weight, bias, gelu=gelu)
    with launches(strategy.kernels) as backward:
        torch.autograd.grad(y, (x, weight, bias), torch.randn_like(y))
    found.append([dict(forward), dict(backward)])
print(json.dumps(found))
"""
BOTH = {"blocks_kernel": 2, "column_sum_kernel": 1}


@pytest.mark.parametrize(
    ("case", "forward", "backward"),
    [
        (["bfloat16", (64, 48, 40), 0, False], {"blocks_kernel": 1}, BOTH),
        (["float16", (33, 16, 24), 0, False], {"blocks_kernel": 1}, BOTH),  # any number of rows will do
        (["bfloat16", (64, 48, 40), 1, False], {"gelu_blocks_kernel": 1}, {**BOTH, "slope_kernel": 1}),
        (["bfloat16", (64, 48, 40), 0, True], {"blocks_kernel": 1}, BOTH),  # W lies in memory as its transpose
        (["bfloat16", (64, 48, 40), 1, True], {"product_kernel": 1}, {**BOTH, "slope_kernel": 1}),
        (["bfloat16", (64, 48, 41), 0, False], {"product_kernel": 1}, {"product_kernel": 2, "column_sum_kernel": 1}),
        (["float32", (64, 48, 40), 0, False], {"product_kernel": 1}, {"product_kernel": 2, "column_sum_kernel": 1}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, list) else "",
)
def test_products_of_16_bits_whose_rows_are_aligned_go_by_blocks(
    case: list[object], forward: dict[str, int], backward: dict[str, int]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([case])], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"}, timeout=300,
    )  # fmt: skip
    assert json.loads(done.stdout) == [[forward, backward]]
