"""The machine and the software that a run happened on: each fact, or null and the reason why it is not known.

No host name, user name, address, serial number or home path is among them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ENVIRONMENT_VARIABLES = re.compile(
    r"^(OMP_|MKL_|KMP_|GOMP_|ATEN_|ONEDNN_|DNNL_|CUDA_|CUBLAS_|PYTORCH_|TORCH|TRITON_|MALLOC_)|^(PYTHONHASHSEED|LD_PRELOAD|CXX)$"
)

HARDWARE = ("machine", "cpu", "physical_cores", "gpu", "gpu_capability", "gpu_multiprocessors", "cpu_capability")
"""Facts by which two machines are of one kind."""


def kind_of(environment: dict[str, Any]) -> tuple[Any, ...]:
    """Equal for machines of one kind, on which a process may use as many CPUs."""
    return (*(environment.get(name) for name in HARDWARE), len(environment.get("affinity") or ()))


def collect(torch: Any = None) -> dict[str, Any]:
    """All facts about this machine, as an ``environment`` record.

    Args:
        torch: the imported module, where its facts are wanted; this module imports none.
    """
    facts: dict[str, Callable[[], Any]] = {
        "python": platform.python_version,
        "kernel": lambda: f"{platform.system()} {platform.release()}",
        "machine": platform.machine,
        "cpu": _cpu_model,
        "physical_cores": lambda: psutil.cpu_count(logical=False) or _unknown("not told by the system"),
        "logical_cores": os.cpu_count,
        "affinity": lambda: sorted(os.sched_getaffinity(0)),
        "niceness": lambda: os.getpriority(os.PRIO_PROCESS, 0),
        "cgroup_cpu_quota": lambda: Path("/sys/fs/cgroup/cpu.max").read_text().strip(),
        "numa_nodes": lambda: len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))),
        "governor": lambda: Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip(),
        "turbo": lambda: Path("/sys/devices/system/cpu/cpufreq/boost").read_text().strip() == "1",
        "smt": lambda: Path("/sys/devices/system/cpu/smt/active").read_text().strip() == "1",
        "hypervisor": lambda: "hypervisor" in _cpuinfo("flags").split(),
        "memory_bytes": lambda: psutil.virtual_memory().total,
        "compiler": lambda: shutil.which(shlex.split(os.environ.get("CXX", "g++"))[-1]) is not None,
        "load_1min": lambda: round(os.getloadavg()[0], 2),
        "commit": lambda: _git("rev-parse", "HEAD"),
        "dirty": lambda: bool(_git("status", "--porcelain", "--untracked-files=no")),
        "packages": _packages,
        "variables": _variables,
    }
    if torch is not None:
        facts |= _torch_facts(torch)
    record: dict[str, Any] = {"kind": "environment"}
    reasons = {}
    for name, read in facts.items():
        try:
            record[name] = read()
        except (OSError, ValueError, LookupError, RuntimeError, subprocess.SubprocessError) as error:
            record[name] = None
            reasons[name] = f"{type(error).__name__}: {error}".replace(str(Path.home()), "~")
    record["unknown"] = reasons
    return record


def _variables() -> dict[str, str]:
    """Those on the allow-list; of paths and device UUIDs only that they are set, for they name users and machines."""
    named = {k: v for k, v in sorted(os.environ.items()) if ENVIRONMENT_VARIABLES.search(k)}
    return {k: "(set)" if "/" in v or "GPU-" in v or "MIG-" in v else v for k, v in named.items()}


def _unknown(reason: str) -> Any:
    raise LookupError(reason)


def _cpuinfo(key: str) -> str:
    found = re.search(rf"^{key}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else _unknown(f"/proc/cpuinfo has no {key}")


def _cpu_model() -> str:
    return _cpuinfo("model name")


def _git(*arguments: str) -> str:
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return str(_unknown("not a git checkout"))
    done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _torch_facts(torch: Any) -> dict[str, Callable[[], Any]]:
    facts: dict[str, Callable[[], Any]] = {
        "torch": lambda: str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability,
        "deterministic": torch.are_deterministic_algorithms_enabled,
        "float32_matmul_precision": torch.get_float32_matmul_precision,
    }
    if not torch.cuda.is_available():
        return facts | {"gpu": lambda: _unknown("no CUDA device")}
    gpu = torch.cuda.get_device_properties(0)
    return facts | {
        "gpu": lambda: gpu.name,
        "gpu_capability": lambda: f"{gpu.major}.{gpu.minor}",
        "gpu_multiprocessors": lambda: gpu.multi_processor_count,
        "gpu_memory_bytes": lambda: gpu.total_memory,
        "gpu_l2_bytes": lambda: gpu.L2_cache_size,
        "cuda": lambda: torch.version.cuda,
        "cudnn": torch.backends.cudnn.version,
        "gpu_driver": lambda: subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.strip(),
    }


def machine_digest(salt: str) -> str | None:
    """This very machine, known again only by who has it: a digest of its ids, with a salt of the run's own.

    Two runs have different salts, so that nobody can tell from their records that they are of one machine; a rented
    machine of the same kind has another digest. None where the system tells no id.
    """
    ids = []
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid", *sorted(map(str, _addresses()))):
        try:
            ids.append(Path(path).read_text().strip())
        except OSError:
            continue
    known = [i for i in ids if i.strip("0:-")]
    return hashlib.sha256("\n".join([salt, *known]).encode()).hexdigest() if known else None


def _addresses() -> list[Path]:
    return [p for p in Path("/sys/class/net").glob("*/address") if (p.parent / "device").exists()]


def machine_label(environment: dict[str, Any]) -> str:
    """A folder name for a kind of machine: ``amd-epyc-2-cores``, or the GPU's name where there is one."""
    gpu, cpu = environment.get("gpu"), environment.get("cpu") or environment.get("machine") or "machine"
    text = gpu or f"{cpu} {environment.get('physical_cores') or environment.get('logical_cores')} cores"
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("(r)", "").replace("(tm)", "")).strip("-")
