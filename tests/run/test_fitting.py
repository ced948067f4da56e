"""What fits into the time that is left."""

import pytest

from harness.records.schema import Group
from harness.run.fitting import gates_at_a_time, last_seconds, that_fit

SMALL, LARGE, LAST = (Group("scale", f"N={n}", "float32", "cpu", 1) for n in (8, 4096, 64))
MANY = Group("scale", "N=8", "float32", "cpu", 2)


def test_the_seconds_of_a_group_are_those_of_its_latest_launch() -> None:
    def cell(group: Group, passed: str, launch: int, seconds: float) -> tuple[str, float]:
        return f"time {group} {passed} launch {launch}", seconds

    cells = [
        cell(SMALL, "forward", 1, 9.0),
        cell(SMALL, "step", 1, 9.0),
        cell(MANY, "forward", 1, 5.0),
        cell(SMALL, "forward", 2, 2.0),
        cell(SMALL, "step", 2, 1.0),
        (f"memory {SMALL}", 100.0),
    ]
    assert last_seconds([SMALL, MANY, LARGE], cells) == {SMALL: 3.0, MANY: 5.0}


def test_what_does_not_fit_is_left_out_and_what_comes_after_it_is_not() -> None:
    seconds = {SMALL: 1.0, LARGE: 100.0, LAST: 2.0}
    groups = [SMALL, LARGE, LAST]
    assert that_fit(groups, seconds, 1.0, 10, left=1040.0) == groups
    assert that_fit(groups, seconds, 1.0, 10, left=1039.0) == [SMALL, LARGE]
    assert that_fit(groups, seconds, 1.0, 10, left=1019.0) == [SMALL, LAST]
    assert that_fit(groups, seconds, 1.0, 10, left=39.0) == [SMALL]
    assert that_fit(groups, seconds, 1.0, 10, left=0.0) == [SMALL]


@pytest.mark.parametrize(
    ("devices", "processors", "gpu_bytes", "gates"),
    [(("cpu",), 16, 0, 2), (("cpu",), 1, 0, 1), (("cuda",), 16, 150e9, 12), (("cuda",), 4, 150e9, 2), (("cuda",), 16, 8e9, 1)],
)  # fmt: skip
def test_gates_run_beside_each_other_as_processors_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], processors: int, gpu_bytes: float, gates: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert gates_at_a_time(devices, int(gpu_bytes)) == gates
