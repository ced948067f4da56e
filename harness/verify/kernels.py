"""Triton kernels: whether they were launched, and what they compile to ahead of time, without a GPU.

The compiler's own report is read: shared memory from its metadata, registers and stack from ``cuobjdump -res-usage``
(NVIDIA; it comes with Triton), spills from the assembly (AMD). Tensor-core instructions are counted in the PTX or the
AMD assembly, and the precision that a dot asks for is read in Triton's own intermediate code: fp32 dots that ask for
nothing get TF32 on NVIDIA.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.layers.kernel import Kernel

TARGETS = {
    "sm_80": ("cuda", 80, 32, 166_912),
    "sm_90": ("cuda", 90, 32, 232_448),
    "sm_100": ("cuda", 100, 32, 232_448),
    "gfx942": ("hip", "gfx942", 64, 65_536),
}
"""Backend, architecture, threads in a warp, bytes of shared memory that a program may have."""


@contextmanager
def launches(kernels: Sequence[Kernel]) -> Iterator[Counter[str]]:
    """Count launches by kernel name, in the interpreter as on a GPU, through Triton's own pre-run hooks."""
    counts: Counter[str] = Counter()

    def counter(name: str) -> Any:
        def count(*_: Any, **__: Any) -> None:
            counts[name] += 1

        return count

    functions = {k.name: k.jitted for k in kernels}  # one may be compiled in several ways
    hooks = [(function, counter(name)) for name, function in functions.items()]
    for function, hook in hooks:
        function.add_pre_run_hook(hook)
    try:
        yield counts
    finally:
        for function, hook in hooks:
            function.pre_run_hooks.remove(hook)


TENSOR_CORES = {
    "mma": re.compile(r"^\s*(?:@\S+\s+)?(mma\.(?:sp\S*\.)?sync\S*)", re.MULTILINE),
    "wgmma": re.compile(r"^\s*(?:@\S+\s+)?(wgmma\.mma_async\S*)", re.MULTILINE),
    "tcgen05": re.compile(r"^\s*(?:@\S+\s+)?(tcgen05\.mma\S*)", re.MULTILINE),
    "mfma": re.compile(r"^\s*(v_s?mfmac?_\S*)", re.MULTILINE),
}
"""Instructions of the matrix units: the first three in PTX, the last in AMD's assembly."""
_DOT = re.compile(r"\btt\.dot\b([^:\n]*): *tensor<[^>]*x(\w+)>")
_HALF = ("f16", "bf16")


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes, and which instructions multiply its matrices.

    Attributes:
        registers: for each thread.
        shared: bytes for each program; ``shared_limit`` is what the target has.
        stack: bytes for each thread; on NVIDIA, anything above 0 is a spill.
        spills: spilled vector registers as AMD's assembly states them; None on NVIDIA, where the stack tells.
        tensor_cores: instructions of the matrix units in the code, by kind (``mma``, ``wgmma``, ``tcgen05``, ``mfma``).
        tf32: how many of these round float32 to TF32.
        float32_dots: the precisions that dots of float32 ask for, such as ``("ieee",)``.
        half_dots: how many dots there are of two-byte numbers.
    """

    target: str
    registers: int
    shared: int
    stack: int
    spills: int | None
    shared_limit: int
    tensor_cores: Mapping[str, int] = field(default_factory=dict)
    tf32: int = 0
    float32_dots: tuple[str, ...] = ()
    half_dots: int = 0

    @property
    def fits(self) -> bool:
        """Shared memory within the target's limit and, on NVIDIA, nothing spilled to the stack."""
        return self.shared <= self.shared_limit and (self.target.startswith("gfx") or self.stack == 0)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know, in words: spills, too much shared memory, dots that are not what they seem."""
        found = []
        if self.shared > self.shared_limit:
            found.append("more shared memory than the target has")
        if self.stack:
            found.append(f"spills: {self.stack} bytes of stack a thread")
        if self.tf32 and "ieee" in self.float32_dots:
            found.append("TF32 though IEEE was asked for")
        elif self.tf32:
            found.append("float32 dots in TF32")
        if self.half_dots and not self.tensor_cores:
            found.append("half-precision dots without tensor cores")
        return tuple(found)


def options_of(kernel: Kernel, configuration: Any = None) -> dict[str, int]:
    """Compile options, of a ``triton.Config`` too where one is given."""
    if configuration is None:
        return dict(kernel.options)
    more = {k: v for k, v in configuration.all_kwargs().items() if k not in configuration.kwargs}
    return {**kernel.options, **more}


def compile_ahead(
    kernel: Kernel, signature: Mapping[str, str | int | bool], target: str, configuration: Any = None
) -> Resources:
    """Compile a kernel for a target that need not be there.

    Args:
        signature: one of ``kernel.signatures``.
        target: a key of TARGETS.
        configuration: one of ``kernel.configurations``, where it is tuned.

    Raises:
        triton.CompilationError: the kernel does not compile for the target.
        RuntimeError: Triton is in interpreter mode, where nothing is compiled.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret:
        raise RuntimeError("ahead-of-time compilation needs a process without TRITON_INTERPRET")
    backend, architecture, warp, limit = TARGETS[target]
    names, signature = kernel.jitted.arg_names, {**signature, **(configuration.kwargs if configuration else {})}
    types = {n: t.removesuffix(":16") for n in names if isinstance(t := signature[n], str)}
    aligned = [i for i, n in enumerate(names) if str(signature[n]).startswith("*") or str(signature[n]).endswith(":16")]
    source = ASTSource(
        fn=kernel.jitted,
        signature={n: types.get(n, "constexpr") for n in names},
        constexprs={n: signature[n] for n in names if n not in types},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    done = triton.compile(
        source, target=GPUTarget(backend, architecture, warp), options=options_of(kernel, configuration)
    )
    shared, dots = int(done.metadata.shared), dots_in(done.asm["ttir"])
    text = done.asm["ptx" if backend == "cuda" else "amdgcn"]
    cores, tf32 = tensor_cores_in(text)
    asked = tuple(sorted({precision for kind, precision in dots if kind == "f32"}))
    more = (cores, tf32, asked, sum(kind in _HALF for kind, _ in dots))
    if backend == "cuda":
        registers, stack = _resource_usage(done.asm["cubin"])
        return Resources(target, registers, shared, stack, None, limit, *more)
    vgprs, spilled, scratch = (
        _number(text, rf"\.{key}: +(\d+)") for key in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")
    )
    return Resources(target, vgprs, shared, scratch, spilled, limit, *more)


def dots_in(ttir: str) -> list[tuple[str, str]]:
    """Type of the left factor and precision asked for of every dot in Triton's intermediate code."""
    found = []
    for operands, kind in _DOT.findall(ttir):
        asked = re.search(r"inputPrecision = (\w+)", operands)
        found.append((kind, asked.group(1) if asked else "ieee"))
    return found


def tensor_cores_in(code: str) -> tuple[dict[str, int], int]:
    """Instructions of the matrix units in PTX or AMD assembly, counted by kind, and how many are in TF32."""
    found = {kind: pattern.findall(code) for kind, pattern in TENSOR_CORES.items()}
    tf32 = sum("tf32" in name or "_xf32" in name for names in found.values() for name in names)
    return {kind: len(names) for kind, names in found.items() if names}, tf32


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"the compiler's output has no {pattern}")
    return int(found.group(1))


def _resource_usage(cubin: bytes) -> tuple[int, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True, timeout=60)
    return _number(done.stdout, r"REG:(\d+)"), _number(done.stdout, r"STACK:(\d+)")
