"""The ``compile`` cells: every kernel of a strategy, in every signature, for one target that need not be there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from harness.layers.kernel import Kernel
from harness.layers.spec import Strategy
from harness.records.kernels import Compiled
from harness.records.schema import CaseStatus, Status
from harness.run.jobs import Cell
from harness.run.process import Process
from harness.verify.kernels import compile_ahead, options_of

TYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def compile_kernels(process: Process, cell: Cell) -> Iterator[Any]:
    """A record for each kernel × signature (× configuration, where it is tuned).

    A claimed dtype that a kernel has no signature of is one too.
    """
    import triton

    group, (name,) = cell.group, cell.strategies
    process.about_to(str(group), name, "import")
    loaded = process.load(group.layer, name)
    if loaded.error is not None:
        status: Status = "unsupported" if loaded.missing else "runtime_error"
        yield CaseStatus(group.layer, name, status, loaded.error, "import", device=group.device)
        return
    strategy: Strategy = loaded.value
    for kernel in strategy.kernels:
        for signature in kernel.signatures if group.device in (kernel.targets or (group.device,)) else ():
            for configuration in kernel.configurations or (None,):
                process.about_to(str(group), name, f"{kernel.name} {signature}")
                yield _compiled(group.layer, name, kernel, signature, configuration, group.device, triton.__version__)
    for kernel_name, dtype in undeclared(strategy, group.device):
        detail = f"claims {dtype}, but declares no signature of it"
        yield Compiled(group.layer, name, kernel_name, dtype, group.device, "missing", detail)


def _compiled(
    layer: str, strategy: str, kernel: Kernel, signature: str, configuration: Any, target: str, version: str
) -> Compiled:
    tuned = "" if configuration is None else " ".join(f"{k}={v}" for k, v in configuration.kwargs.items())
    case = (layer, strategy, kernel.name, f"{signature} {tuned}".strip(), target)
    options = options_of(kernel, configuration)
    try:
        found = compile_ahead(kernel, kernel.signatures[signature], target, configuration)
    except Exception as error:  # noqa: BLE001 - a compiler raises whatever it likes
        said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
        return Compiled(*case, "compile_error", f"{type(error).__name__}: {said}"[:300], options, triton=version)
    word: Literal["ok", "over"] = "ok" if found.fits else "over"
    return Compiled(
        *case, word, "; ".join(found.remarks), options, found.registers, found.shared, found.shared_limit, found.stack,
        found.spills, dict(found.tensor_cores), found.float32_dots, found.tf32, version,
    )  # fmt: skip


def undeclared(strategy: Strategy, target: str) -> list[tuple[str, str]]:
    """Kernel and dtype wherever a strategy claims a dtype in which a kernel of it has no signature for the target.

    Kernels for some dtypes owe no signature to others, nor to a target that none of their statements is for.
    """
    declared: dict[str, set[str]] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    for kernel in strategy.kernels:
        here = target in (kernel.targets or (target,))
        if kernel.dtypes and not here:
            continue
        wanted[kernel.name] = kernel.dtypes or strategy.dtypes
        types = declared.setdefault(kernel.name, set())
        if here:
            types |= {str(t).lstrip("*") for s in kernel.signatures.values() for t in s.values() if str(t)[:1] == "*"}
    return [(name, d) for name, types in declared.items() for d in wanted[name] if TYPES[d] not in types]
