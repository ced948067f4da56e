"""The script that says what many groups cost the driver does what it says, for a few."""

from pathlib import Path

from harness.records.store import read
from tests.run.cluster_scale import STRATEGIES, measure


def test_a_whole_run_of_simulated_work_is_measured(tmp_path: Path) -> None:
    assert measure(20, tmp_path).startswith("     20 groups:")
    run = read(tmp_path)
    assert len(run.of("samples")) == 20 * 2 * (len(STRATEGIES) + 1)
    assert {r["cell"] for r in run.of("samples")} <= run.done
