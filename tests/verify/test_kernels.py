"""Kernels compile ahead of time for every target, without a GPU, and fit."""

import importlib.util

import pytest

from harness.layers.discover import load, scan
from harness.verify.kernels import TARGETS, compile_ahead

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

KERNELS = [
    (entry.layer, kernel, name, target)
    for entry in scan(["implementations"])
    if entry.strategy is not None
    for kernel in getattr(load(entry).value, "kernels", ())
    for name in kernel.signatures
    for target in kernel.targets or TARGETS
]


def test_there_are_kernels_for_forward_and_backward_of_each_layer() -> None:
    seen = {(layer, p) for layer, kernel, *_ in KERNELS for p in kernel.passes}
    layers = {layer for layer, *_ in KERNELS}
    assert seen == {(layer, p) for layer in layers for p in ("forward", "backward")}
    assert len(layers) >= 2


@pytest.mark.parametrize(
    ("layer", "kernel", "name", "target"),
    KERNELS,
    ids=[f"{la}-{k.function.__name__}-{n}-{target}" for la, k, n, target in KERNELS],
)
def test_it_compiles_fits_and_spills_nothing(layer: str, kernel: object, name: str, target: str) -> None:
    found = compile_ahead(kernel, kernel.signatures[name], target)  # type: ignore[arg-type, attr-defined]
    assert found.fits, found
    assert found.registers > 0
