"""Triton kernels: whether they were launched, and what they compile to ahead of time, without a GPU.

The compiler's own report is read: shared memory from its metadata, registers and stack from ``cuobjdump -res-usage``
(NVIDIA; it comes with Triton), spills from the assembly (AMD).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.layers.spec import Kernel

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

    hooks = [(function, counter(name)) for name, function in {k.function.__name__: k.function for k in kernels}.items()]
    for function, hook in hooks:
        function.add_pre_run_hook(hook)
    try:
        yield counts
    finally:
        for function, hook in hooks:
            function.pre_run_hooks.remove(hook)


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes.

    Attributes:
        registers: for each thread.
        shared: bytes for each program; ``shared_limit`` is what the target has.
        stack: bytes for each thread; on NVIDIA, anything above 0 is a spill.
        spills: spilled vector registers as AMD's assembly states them; None on NVIDIA, where the stack tells.
    """

    target: str
    registers: int
    shared: int
    stack: int
    spills: int | None
    shared_limit: int

    @property
    def fits(self) -> bool:
        """Shared memory within the target's limit and, on NVIDIA, nothing spilled to the stack."""
        return self.shared <= self.shared_limit and (self.target.startswith("gfx") or self.stack == 0)


def compile_ahead(kernel: Kernel, signature: Mapping[str, str | int | bool], target: str) -> Resources:
    """Compile a kernel for a target that need not be there.

    Args:
        signature: types of run-time arguments (``*fp32`` is a pointer, taken as aligned to 16 bytes) and values of
            compile-time ones.
        target: a key of TARGETS.

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
    names = kernel.function.arg_names
    source = ASTSource(
        fn=kernel.function,
        signature={n: signature[n] if isinstance(signature[n], str) else "constexpr" for n in names},
        constexprs={n: signature[n] for n in names if not isinstance(signature[n], str)},
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if str(signature[n]).startswith("*")},
    )
    done = triton.compile(source, target=GPUTarget(backend, architecture, warp), options=dict(kernel.options))
    shared = int(done.metadata.shared)
    if backend == "cuda":
        registers, stack = _resource_usage(done.asm["cubin"])
        return Resources(target, registers, shared, stack, None, limit)
    text = done.asm["amdgcn"]
    vgprs, spilled, scratch = (
        _number(text, rf"\.{key}: +(\d+)") for key in ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")
    )
    return Resources(target, vgprs, shared, scratch, spilled, limit)


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
