"""What a machine was doing during a round: recorded beside the samples, so that a reader can tell a bad one.

On the CPU: the share of time in which some process waited for a processor (Linux pressure stall information) and the
clock, where the system tells them. On CUDA: clocks, power, temperature and what slows the chip down, as NVML tells
them (package ``nvidia-ml-py``; without it nothing is recorded). No setting is changed.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import time
from pathlib import Path
from typing import Any, Protocol

Reading = dict[str, float]

SLOW_CLOCK = 0.75
"""A round below this share of the chip's default clock is done again."""


class Conditions(Protocol):
    """Reads a machine once a round."""

    def read(self) -> Reading:
        """Figures by name; those that are not to be had are left out."""
        ...

    def throttled(self, reading: Reading) -> bool:
        """Whether the round just done should be done again."""
        ...


class Silent:
    """Nothing is to be had."""

    def read(self) -> Reading:
        """See ``Conditions``."""
        return {}

    def throttled(self, reading: Reading) -> bool:
        """See ``Conditions``."""
        return False


class CpuConditions(Silent):
    """``pressure``: waiting time ÷ time since the last reading; ``mhz``: of the last processor that we may use."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._pressure = proc / "pressure/cpu"
        core = max(os.sched_getaffinity(0))
        self._clock = sys / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
        self._waited, self._at = self._waited_so_far(), time.perf_counter()

    def read(self) -> Reading:
        """See ``Conditions``."""
        reading: Reading = {}
        waited, now = self._waited_so_far(), time.perf_counter()
        if waited is not None and self._waited is not None:
            reading["pressure"] = round((waited - self._waited) * 1e-6 / (now - self._at), 4)
        self._waited, self._at = waited, now
        with contextlib.suppress(OSError, ValueError):
            reading["mhz"] = int(self._clock.read_text()) / 1000
        return reading

    def _waited_so_far(self) -> int | None:
        """Microseconds, from a line such as ``some avg10=0.00 avg60=0.00 avg300=0.00 total=1234``."""
        try:
            return int(self._pressure.read_text().split("\n")[0].rpartition("total=")[2])
        except (OSError, ValueError):
            return None


class NvmlConditions:
    """Of one GPU.

    Args:
        nvml: the module ``pynvml``.
        index: of the GPU among those that this process sees.
    """

    def __init__(self, nvml: Any, index: int = 0) -> None:
        nvml.nvmlInit()
        self._nvml, self._gpu = nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        self._default = self._default_clock()

    def _default_clock(self) -> float:
        """Of the multiprocessors; the highest where the driver knows no default, as new ones don't; 0: neither."""
        n = self._nvml
        for ask in (n.nvmlDeviceGetDefaultApplicationsClock, n.nvmlDeviceGetMaxClockInfo):
            with contextlib.suppress(n.NVMLError):
                return float(ask(self._gpu, n.NVML_CLOCK_GRAPHICS))
        return 0.0

    def read(self) -> Reading:
        """``sm_mhz``, ``memory_mhz``, ``watts``, ``celsius``, and ``events``, NVML's bit mask of what slows it down.

        Nothing where the driver does not answer this time.
        """
        with contextlib.suppress(self._nvml.NVMLError):
            return self._figures()
        return {}

    def _figures(self) -> Reading:
        n, gpu = self._nvml, self._gpu
        return {
            "sm_mhz": float(n.nvmlDeviceGetClockInfo(gpu, n.NVML_CLOCK_SM)),
            "memory_mhz": float(n.nvmlDeviceGetClockInfo(gpu, n.NVML_CLOCK_MEM)),
            "watts": n.nvmlDeviceGetPowerUsage(gpu) / 1000,
            "celsius": float(n.nvmlDeviceGetTemperature(gpu, n.NVML_TEMPERATURE_GPU)),
            "events": float(n.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)),
        }

    def throttled(self, reading: Reading) -> bool:
        """See ``Conditions``."""
        return reading.get("sm_mhz", math.inf) < SLOW_CLOCK * self._default


def conditions_of(device: str) -> Conditions:
    """What can be read here; of a GPU that does not tell (no NVML, or a virtual one), nothing."""
    if device == "cpu":
        return CpuConditions()
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return Silent()
    try:
        found = NvmlConditions(nvml, _visible_index())
        return found if found.read() else Silent()
    except (nvml.NVMLError, AttributeError):  # an older package lacks names
        return Silent()


def _visible_index() -> int:
    """NVML counts all GPUs of a machine, CUDA those that ``CUDA_VISIBLE_DEVICES`` leaves."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return int(first) if first.isdigit() else 0
