"""Two environments side by side, what of it matters, and so what can be asked of a reproduction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.records.environment import HARDWARE, machine_digest
from harness.records.store import Record, Run

NUMBERS, TIMES, BOTH, NEITHER = "numbers", "times", "numbers and times", ""
MATTERS = {
    "python": TIMES, "kernel": TIMES, "machine": BOTH, "cpu": BOTH, "physical_cores": TIMES, "logical_cores": TIMES,
    "affinity": TIMES, "niceness": TIMES, "cgroup_cpu_quota": TIMES, "numa_nodes": TIMES, "governor": TIMES,
    "turbo": TIMES, "smt": TIMES, "hypervisor": TIMES, "memory_bytes": TIMES, "commit": TIMES, "dirty": TIMES,
    "torch": BOTH, "cpu_capability": BOTH, "deterministic": BOTH, "float32_matmul_precision": BOTH, "gpu": BOTH,
    "gpu_capability": BOTH, "gpu_multiprocessors": BOTH, "gpu_memory_bytes": TIMES, "gpu_l2_bytes": TIMES, "cuda": BOTH,
    "cudnn": BOTH, "gpu_driver": TIMES,
}  # fmt: skip
"""What a fact matters for; the load of a machine and the packages that are not named here matter for nothing."""
PACKAGES = {"torch": BOTH, "triton": BOTH, "numpy": NUMBERS}
SOFTWARE = ("python", "torch", "cuda", "cudnn", "float32_matmul_precision", "deterministic")
VARIABLES = ("MKL_", "ATEN_", "ONEDNN_", "DNNL_", "CUBLAS_", "PYTORCH_", "TORCH_", "TRITON_F32")


@dataclass(frozen=True)
class Fact:
    """A fact of either environment; ``matters`` is empty where it does not."""

    name: str
    published: Any
    here: Any
    matters: str

    @property
    def same(self) -> bool:
        """Whether it is the same in both."""
        return bool(self.published == self.here)


@dataclass(frozen=True)
class Tier:
    """What can be asked.

    Attributes:
        number: 2 the same machine and software, 3 the same hardware, 4 another machine; 1 where besides 2 bits are due.
        bits: whether the same bits are due: stack, device, instruction set and configuration are the same.
        why: one line for each thing that kept it from a stricter tier.
    """

    number: int
    bits: bool
    why: tuple[str, ...]

    @property
    def asked(self) -> str:
        """In words."""
        return {
            1: "the same machine and software: bits are equal, ratios within the tie band of the published ones",
            2: "the same machine and software: ratios within the tie band of the published ones",
            3: "the same hardware: thresholds and who wins",
            4: "another machine: thresholds and who wins",
        }[self.number] + ("; bits are equal" if self.bits and self.number > 1 else "")


def compare(published: Record, here: Record) -> list[Fact]:
    """All facts of both, those that differ and matter first."""
    facts = []
    skipped = ("kind", "cell", "attempt", "unknown", "packages", "variables", "load_1min")
    for name in dict.fromkeys([*published, *here]):
        if name not in skipped:
            facts.append(Fact(name, published.get(name), here.get(name), MATTERS.get(name, NEITHER)))
    for group, matters in (("packages", PACKAGES), ("variables", {})):
        one, other = published.get(group) or {}, here.get(group) or {}
        for name in sorted({*one, *other}):
            due = matters.get(name.lower(), NEITHER) if group == "packages" else _variable_matters(name)
            facts.append(Fact(f"{group[:-1]} {name}", one.get(name), other.get(name), due))
    return sorted(facts, key=lambda f: (f.same, f.matters == NEITHER))


def _variable_matters(name: str) -> str:
    return BOTH if name.startswith(VARIABLES) else TIMES if name.startswith(("OMP_", "KMP_", "MALLOC_")) else NEITHER


def tier(
    run: Run, here: Record, digests: dict[str, str], machine: Callable[[str], str | None] = machine_digest
) -> Tier:
    """The strictest tier that this environment supports for a published run.

    Args:
        run: the published one.
        here: the ``environment`` record of this machine, as a worker sees it.
        digests: of the sources at hand.
        machine: the digest of this machine's id with the run's salt.
    """
    header = run.of("run")[0]
    there = run.of("environment")[0] if run.of("environment") else {}
    hardware = [n for n in HARDWARE if there.get(n) != here.get(n)]
    software = [n for n in SOFTWARE if there.get(n) != here.get(n)]
    triton = ((e.get("packages") or {}).get("triton") for e in (there, here))
    software += ["triton"] if len(set(triton)) > 1 else []
    configured = [
        f.name for f in compare(there, here)
        if f.name.startswith("variable ") and not f.same and f.matters == BOTH
    ]  # fmt: skip
    changed = changed_sources(header.get("digests", {}), digests)
    why = [
        f"another {n}: {there.get(n)} published, {here.get(n)} here" if n != "triton" else "another triton"
        for n in (*hardware, *software)
    ]
    why += [f"{name} differs" for name in configured]
    bits = not (hardware or software or configured or changed)
    if hardware:
        return Tier(4, False, tuple(why))
    salt, known = str(header.get("started", "")), header.get("machine")
    if known is None:
        why.append("the run does not say which machine it was, only what kind")
    elif machine(salt) != known:
        why.append("a machine of the same kind, but not the same one")
    elif not software:
        return Tier(1 if bits else 2, bits, tuple(why))
    return Tier(3, bits, tuple(why))


def changed_sources(published: dict[str, str], here: dict[str, str]) -> list[str]:
    """Layers and strategies whose source is another one here, or missing."""
    return [name for name, digest in published.items() if here.get(name) != digest]
