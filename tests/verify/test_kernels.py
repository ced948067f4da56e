"""Kernels compile ahead of time for every target, without a GPU, and fit."""

import importlib.util
from typing import Any

import pytest

from harness import Strategy
from harness.layers import kernel as ahead
from harness.layers.discover import Entry, load, scan
from harness.run.compiling import undeclared
from harness.verify.controls.kernels import column_sum_kernel, copy_kernel
from harness.verify.kernels import TARGETS, Resources, compile_ahead, dots_in, tensor_cores_in

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

ALL = [
    (entry.layer, kernel, name, target)
    for entry in scan(["implementations"])
    if entry.strategy is not None
    for kernel in getattr(load(entry).value, "kernels", ())
    for name in kernel.signatures
    for target in kernel.targets or TARGETS
]


def _types(kernel: ahead.Kernel, name: str) -> frozenset[str]:
    return frozenset(str(t) for t in kernel.signatures[name].values() if str(t)[:1] == "*")


# of each kernel, dtype and target the first signature; `make aot` compiles all
KERNELS = list(
    {(la, k.function, _types(k, n), target): (la, k, n, target) for la, k, n, target in reversed(ALL)}.values()
)[::-1]


PTX = """
	mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2}, {%r1}, {%r2}, {%f3};
	@%p1 wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%f1}, %rd1, %rd2, 1, 1, 1, 0, 0;
	wgmma.fence.sync.aligned;
	@%p2 tcgen05.mma.cta_group::1.kind::f16 [ %r1 + 0 ], %rd1, %rd2, %r2, %p3;
	tcgen05.commit.cta_group::1.mbarrier::arrive::one.b64 [%rd3];
"""
AMDGCN = """
	v_mfma_f32_32x32x8_bf16 v[0:15], v[16:17], v[18:19], v[0:15]
	v_mfma_f32_16x16x8_xf32 v[0:3], v[16:17], v[18:19], v[0:3]
	v_fma_f32 v0, v1, v2, v3
"""
TTIR = """
  %1 = tt.dot %a, %b, %c : tensor<64x32xf32> * tensor<32x64xf32> -> tensor<64x64xf32> loc(#loc1)
  %2 = tt.dot %a, %b, %c, inputPrecision = tf32 : tensor<64x32xf32> * tensor<32x64xf32> -> tensor<64x64xf32>
  %3 = tt.dot %d, %e, %c, inputPrecision = tf32 : tensor<64x32xbf16> * tensor<32x64xbf16> -> tensor<64x64xf32>
"""


def test_tensor_core_instructions_are_counted() -> None:
    assert tensor_cores_in(PTX) == ({"mma": 1, "wgmma": 1, "tcgen05": 1}, 1)
    assert tensor_cores_in(AMDGCN) == ({"mfma": 2}, 1)
    assert tensor_cores_in("fma.rn.f32 %f1, %f2, %f3, %f4;") == ({}, 0)


def test_the_precision_that_a_dot_asks_for_is_read() -> None:
    assert dots_in(TTIR) == [("f32", "ieee"), ("f32", "tf32"), ("bf16", "tf32")]


@pytest.mark.parametrize(
    ("taken", "fits", "remark"),
    [
        ({}, True, ""),
        ({"shared": 200_000}, False, "more shared memory than the target has"),
        ({"stack": 8}, False, "spills: 8 bytes of stack a thread"),
        ({"stack": 8, "target": "gfx942"}, True, "spills: 8 bytes of stack a thread"),
        ({"tensor_cores": {"mma": 4}, "tf32": 4, "float32_dots": ("ieee",)}, True, "TF32 though IEEE was asked for"),
        ({"tensor_cores": {"mma": 4}, "tf32": 4, "float32_dots": ("tf32",)}, True, "float32 dots in TF32"),
        ({"half_dots": 1}, True, "half-precision dots without tensor cores"),
        ({"half_dots": 1, "tensor_cores": {"mma": 1}}, True, ""),
    ],
)
def test_what_a_reader_should_know_is_said(taken: dict[str, Any], fits: bool, remark: str) -> None:
    plain = {"target": "sm_80", "registers": 32, "shared": 0, "stack": 0, "spills": None, "shared_limit": 166_912}
    found = Resources(**{**plain, **taken})
    assert found.fits == fits
    assert "; ".join(found.remarks) == remark


def test_targets_have_one_list_of_names() -> None:
    assert tuple(TARGETS) == ahead.TARGETS
    with pytest.raises(ValueError, match="targets 'sm_1': choose from sm_80"):
        ahead.Kernel(None, ("forward",), {}, {}, ("sm_1",))


@pytest.mark.parametrize(
    "entry", [e for e in scan(["implementations"]) if e.strategy is not None], ids=lambda e: f"{e.layer}-{e.strategy}"
)
def test_every_dtype_that_is_claimed_is_compiled(entry: Entry) -> None:
    strategy = load(entry).value
    assert not [found for target in TARGETS for found in undeclared(strategy, target)]


def test_a_kernel_for_some_dtypes_owes_no_signature_to_others_nor_to_targets_that_it_is_not_for() -> None:
    def kernel() -> None: ...

    def declared(*targets: str, **more: Any) -> Strategy:
        own = ahead.Kernel(kernel, (), {"one": {"x": "*bf16"}}, {}, targets, **more)
        return Strategy(lambda x: x, dtypes=("float32", "bfloat16"), kernels=(own,))

    narrow = declared("sm_90", dtypes=("bfloat16", "float16"))
    assert undeclared(narrow, "sm_90") == [("kernel", "float16")]
    assert undeclared(narrow, "sm_80") == []
    assert undeclared(declared("sm_90"), "sm_90") == [("kernel", "float32")]
    assert undeclared(declared("sm_90"), "sm_80") == [("kernel", "float32"), ("kernel", "bfloat16")]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("kernel", "signature"),
    [
        (copy_kernel, {"source": "*fp32", "target": "*fp32", "size": "i32", "READS": True, "WRITES": False}),
        (column_sum_kernel, {**dict.fromkeys(("source", "target"), "*fp32"), "rows": "i32", "columns": "i32", "FILLED": True}),
    ],
)  # fmt: skip
def test_the_kernels_of_the_controls_compile_for_a_gpu(kernel: Any, signature: dict[str, Any], target: str) -> None:
    one = {**signature, "BLOCK": 16}
    assert compile_ahead(ahead.Kernel(kernel, (), {"one": one}), one, target).fits


@pytest.mark.parametrize(("target", "unit"), [("sm_90", "wgmma"), ("sm_100", "tcgen05")])
@pytest.mark.parametrize("kernel_name", ["blocks_kernel", "gelu_blocks_kernel"])
def test_products_by_blocks_are_fetched_by_the_copy_engine(kernel_name: str, target: str, unit: str) -> None:
    mine = [k for la, k, *_ in ALL if k.function.__name__ == kernel_name and target in k.targets]
    name, signature = next(iter(mine[-1].signatures.items()))
    found = compile_ahead(mine[-1], signature, target)
    assert set(found.tensor_cores) == {unit}, name
    assert found.fits


@pytest.mark.parametrize(("target", "unit"), [("sm_90", "wgmma"), ("sm_100", "tcgen05")])
@pytest.mark.parametrize("name", ["bf16 y, gelu", "bf16 dL/dW, parts"])
def test_bfloat16_products_use_the_target_s_own_matrix_unit(name: str, target: str, unit: str) -> None:
    (kernel,) = {k.function.__name__: k for la, k, n, _ in ALL if (la, n) == ("affine", name)}.values()
    found = compile_ahead(kernel, kernel.signatures[name], target)
    assert set(found.tensor_cores) == {unit}
    assert found.fits


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
    assert not found.tf32, "a float32 dot must choose its precision: torch's is IEEE, Triton's default is TF32"
    assert "half-precision dots without tensor cores" not in found.remarks
