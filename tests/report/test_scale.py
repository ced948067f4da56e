"""A run with more of everything than fits on a figure; what it costs is shown by ``python -m tests.report.scale``."""

from pathlib import Path

from harness.records.store import read
from harness.report import tables
from tests.analyse.recorded import write
from tests.report.scale import LAYERS, records


def test_a_run_of_a_size_has_about_so_many_records_and_a_whole_report(tmp_path: Path) -> None:
    items = list(records(1000))
    assert 1000 <= len(items) <= 1300
    run = read(write(tmp_path, items))
    names = {path.name for path in tables.write_all(run, tmp_path / "tables")}
    assert {f"timing-{layer}.csv" for layer in LAYERS} < names
    assert {"decision.csv", "matrix.csv", "determinism.csv", "roofs.csv", "noise.csv", "break_even.csv"} < names
