"""Tables of launches: read, looked up, forced, changed and written; those of this repository are sound."""

import threading
from pathlib import Path

import pytest

from harness import launch_table
from harness.layers.launches import (
    UNMEASURED,
    LaunchTableError,
    Row,
    read_table,
    with_row,
    write_table,
)
from tests.conftest import ROOT

TEXT = """# for people
target, dtype            , up_to, BLOCK, num_warps, evidence
sm_90 , bfloat16 float16 , 64   , 128  , 8        , run 1: 1.2×
any   , float32          , 64   , 32   , 4        , not yet measured
any   , any              , any  , 16   , 4        , not yet measured
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "launches" / "a_kernel.csv"
    file.parent.mkdir()
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(
    ("target", "dtype", "size", "block"),
    [
        ("sm_90", "bfloat16", 64, 128),
        ("sm_90", "torch.float16", 1, 128),
        ("sm_90", "bfloat16", 65, 16),
        ("sm_80", "bfloat16", 64, 16),
        ("sm_90", "float32", 64, 32),
        ("gfx942", "float32", 64, 32),
        ("interpreter", "float64", 10**9, 16),
    ],
)
def test_the_first_row_that_fits_is_taken(path: Path, target: str, dtype: str, size: int, block: int) -> None:
    table = launch_table(str(path.parents[1] / "triton.py"), "a_kernel")
    assert table.find(target, dtype, size) == table.find(target, dtype, size)
    assert table.find(target, dtype, size)["BLOCK"] == block
    assert table.row(target, dtype, size).config["BLOCK"] == block


def test_a_forced_configuration_holds_in_all_threads_and_ends(path: Path) -> None:
    table, seen = read_table(path), []
    with table.forced({"BLOCK": 1}):
        other = threading.Thread(target=lambda: seen.append(table.find("sm_90", "float32", 1)["BLOCK"]))
        other.start()
        other.join()
    assert seen == [1]
    assert table.find("sm_90", "float32", 1)["BLOCK"] == 32


def test_a_new_row_stands_before_the_one_that_was_taken_or_in_its_place(path: Path) -> None:
    table = read_table(path)
    old = table.row("sm_90", "float32", 64)
    found = with_row(table, old, Row("sm_90", ("float32",), 64, {"BLOCK": 64, "num_warps": 2}, "run 2: 2×"))
    again = with_row(
        found, found.row("sm_90", "float32", 64), Row("sm_90", ("float32",), 64, {"BLOCK": 8, "num_warps": 2}, "run 3")
    )
    assert [len(t.rows) for t in (table, found, again)] == [3, 4, 4]
    write_table(again)
    read = read_table(path)
    assert read.rows == again.rows
    assert path.read_text().startswith("# for people\n")
    assert [read.find(t, "float32", 64)["BLOCK"] for t in ("sm_90", "sm_80")] == [8, 32]
    assert read.row("sm_90", "float32", 64).evidence == "run 3"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("any   , any              , any  , 16   , 4        , not yet measured\n", "", "its last row must be for any"),
        ("target, dtype", "device, dtype", "its head must be target, dtype, up_to"),
        (", evidence", "", "its head must be"),
        ("32   , 4", "many , 4", "not 6 cells, or not whole numbers"),
        ("32   , 4        ,", "32   ,", "not 6 cells"),
        (TEXT, "", "its head must be"),
    ],
)
def test_a_table_that_is_none_says_what_it_lacks(path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(LaunchTableError, match=f"a_kernel.csv: .*{message}"):
        read_table(path)
    path.unlink()
    with pytest.raises(LaunchTableError, match="No such file"):
        read_table(path)


TABLES = sorted((ROOT / "implementations").glob("*/launches/*.csv"))


@pytest.mark.parametrize("path", TABLES, ids=lambda p: f"{p.parts[-3]}/{p.stem}")
def test_ours_say_what_speaks_for_each_row_and_stay_as_they_are_when_written(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    table = read_table(copy)
    for row in table.rows:
        measured = row.evidence.partition(":")[0]
        assert row.evidence in (UNMEASURED, "never timed") or list((ROOT / "results").glob(f"*/{measured}")), row
        assert (row.evidence == "never timed") == (row.target == "interpreter")
        assert all(value >= (name != "FAST") for name, value in row.config.items())  # a switch; all else is counted
    write_table(table)
    assert copy.read_text() == path.read_text()
