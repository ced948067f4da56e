"""What is read of a machine, from files and an NVML that are made up."""

from pathlib import Path
from types import SimpleNamespace

from harness.measure.conditions import CpuConditions, NvmlConditions, conditions_of


def _pressure(folder: Path, microseconds: int) -> None:
    (folder / "pressure").mkdir(exist_ok=True)
    line = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={microseconds}"
    (folder / "pressure/cpu").write_text(f"{line}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")


def test_pressure_is_the_waiting_since_the_last_reading(tmp_path: Path) -> None:
    _pressure(tmp_path, 5_000_000)
    conditions = CpuConditions(tmp_path, tmp_path)
    assert conditions.read()["pressure"] == 0
    _pressure(tmp_path, 2_000_000_000)
    assert conditions.read()["pressure"] > 1


def test_what_the_system_does_not_tell_is_left_out(tmp_path: Path) -> None:
    assert CpuConditions(tmp_path, tmp_path).read() == {}
    assert not CpuConditions(tmp_path, tmp_path).throttled({})


def _nvml(mhz: int) -> SimpleNamespace:
    return SimpleNamespace(
        NVML_CLOCK_GRAPHICS=0, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_TEMPERATURE_GPU=0, NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetDefaultApplicationsClock=lambda gpu, kind: 1980 if kind == 0 else None,
        nvmlDeviceGetMaxClockInfo=lambda gpu, kind: 2100,
        nvmlDeviceGetClockInfo=lambda gpu, kind: mhz if kind == 1 else 2619,
        nvmlDeviceGetPowerUsage=lambda gpu: 451_300,
        nvmlDeviceGetTemperature=lambda gpu, kind: 51,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda gpu: 4,
    )  # fmt: skip


def test_a_gpu_tells_its_clocks_and_is_throttled_below_three_quarters_of_its_default() -> None:
    reading = NvmlConditions(_nvml(1500)).read()
    assert reading == {"sm_mhz": 1500, "memory_mhz": 2619, "watts": 451.3, "celsius": 51, "events": 4}
    assert not NvmlConditions(_nvml(1500)).throttled(reading)
    assert NvmlConditions(_nvml(1480)).throttled({"sm_mhz": 1480.0})


def test_a_driver_that_knows_no_default_clock_has_a_highest_one() -> None:
    nvml = _nvml(1500)

    def deprecated(gpu: int, kind: int) -> int:
        raise nvml.NVMLError("requested functionality has been deprecated")

    nvml.nvmlDeviceGetDefaultApplicationsClock = deprecated
    nvml.nvmlDeviceGetMaxClockInfo = lambda gpu, kind: 2100
    assert NvmlConditions(nvml).throttled({"sm_mhz": 1500.0})
    nvml.nvmlDeviceGetMaxClockInfo = deprecated
    assert not NvmlConditions(nvml).throttled({"sm_mhz": 1.0})


def test_a_driver_that_does_not_answer_for_once_costs_a_reading_and_no_strategy() -> None:
    nvml = _nvml(1500)
    conditions = NvmlConditions(nvml)

    def busy(gpu: int) -> int:
        raise nvml.NVMLError("unknown error")

    nvml.nvmlDeviceGetPowerUsage = busy
    assert conditions.read() == {}
    assert not conditions.throttled({})


def test_without_nvml_a_gpu_tells_nothing() -> None:
    assert conditions_of("cuda").read() == {}
