"""From what candidates took to the rows of the tables, and what the command says where there is nothing to tune."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness.layers.launches import read_table
from harness.records.schema import LayerFacts, StrategyFacts
from harness.run.opening import Described
from harness.run.tuning import Settings, cells_of, choices, write
from tests.conftest import Cli

TABLE = """target, dtype            , up_to, BLOCK, evidence
sm_90 , bfloat16 float16 , 64   , 1    , not yet measured
any   , any              , any  , 2    , not yet measured
"""
GPU = "NVIDIA H100, 80GB"
ROW = ["any", "any", "any"]


def _record(block: int, ratio: float, dims: str = "N=1", result: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "kind": "candidate", "layer": "one", "strategy": "triton", "kernel": "k", "dims": dims, "dtype": "float32",
        "device": "cuda", "target": "sm_90", "row": ROW, "config": {"BLOCK": block}, "current": block == 2,
        "result": result, "log_ratios": [math.log(ratio)] * 7 if result == "ok" else [], **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "launches").mkdir()
    (tmp_path / "launches" / "k.csv").write_text(TABLE)
    return tmp_path


def _choices(folder: Path, records: list[dict[str, Any]]) -> list[Any]:
    return list(choices(records, {"one": folder}, "2026-01-01-tune", GPU))


def test_the_best_over_all_sizes_of_a_row_is_written_with_its_evidence(folder: Path) -> None:
    records = [
        _record(2, 1.0), _record(4, 0.5), _record(8, 0.6), _record(16, 1.0, result="wrong"),
        _record(2, 1.0, "N=2"), _record(4, 1.4, "N=2"), _record(8, 0.6, "N=2"), _record(32, 0.1, "N=2"),
    ]  # fmt: skip
    (choice,) = _choices(folder, records)
    assert dict(choice.new.config) == {"BLOCK": 8}  # 4 is faster at one size and slower at the other; 32 has but one
    assert choice.ratio == pytest.approx(0.6)
    assert (choice.tried, choice.wrong) == (6, 1)
    write([choice])
    table = read_table(folder / "launches" / "k.csv")
    assert table.find("sm_90", "float32", 5) == {"BLOCK": 8}
    assert table.find("sm_80", "float32", 5) == table.find("sm_90", "float64", 5) == {"BLOCK": 2}
    assert table.find("sm_90", "bfloat16", 5) == {"BLOCK": 1}
    assert table.row("sm_90", "float32", 5).evidence == "2026-01-01-tune: 1.67× the row before; NVIDIA H100; 80GB"
    write(_choices(folder, [{**r, "row": ["sm_90", "float32", "any"]} for r in [_record(2, 1.0), _record(4, 0.5)]]))
    assert read_table(folder / "launches" / "k.csv").find("sm_90", "float32", 5) == {"BLOCK": 4}
    assert len(read_table(folder / "launches" / "k.csv").rows) == len(table.rows)


def test_within_the_margin_the_row_stays_and_is_measured_from_now_on(folder: Path) -> None:
    (choice,) = _choices(folder, [_record(2, 1.0), _record(4, 0.995)])
    assert (dict(choice.new.config), choice.ratio) == ({"BLOCK": 2}, 1.0)
    assert choice.new.evidence.startswith("2026-01-01-tune: best of 2; ")


def test_where_the_current_one_was_not_timed_nothing_is_written(folder: Path) -> None:
    assert not _choices(folder, [_record(2, 1.0, result="wrong"), _record(4, 0.5)])


def test_several_rows_of_one_table_are_written_together(folder: Path) -> None:
    bf16 = {"dtype": "bfloat16", "row": ["sm_90", "bfloat16 float16", "64"]}
    records = [_record(2, 1.0), _record(4, 0.5)]
    records += [_record(1, 1.0, **bf16) | {"current": True}, _record(9, 0.5, **bf16)]
    write(_choices(folder, records))
    table = read_table(folder / "launches" / "k.csv")
    assert [table.find("sm_90", d, 64)["BLOCK"] for d in ("float32", "bfloat16", "float16", "float64")] == [4, 9, 1, 2]


def test_a_cell_for_each_table_size_and_dtype_the_most_telling_size_first(folder: Path) -> None:
    sizes = {"cuda": {"full": ["N=9", "N=1"]}}
    layer = LayerFacts("one", "", "", "", "autograd", sizes, "", "", "", 1.0, 0.5)
    both = ("cpu", "cuda")
    strategies = [
        StrategyFacts("one", "triton", "", "", "", devices=("cuda",), kernels=("k", "k", "without_a_table")),
        StrategyFacts("one", "autograd", "", "", "", devices=both),
        StrategyFacts("one", "on_a_cpu", "", "", "", devices=("cpu",), kernels=("k",)),
    ]
    described = Described((layer,), tuple(strategies), (), {})

    def cells(**more: Any) -> list[tuple[str, str, str]]:
        found = cells_of(described, Settings((), **more), {"one": folder})
        return [(c.group.dims, c.group.dtype, c.passed) for batch in found for c in batch]

    assert cells() == [(d, t, "k") for d in ("N=9", "N=1") for t in ("bfloat16", "float32")]
    assert cells(dtypes=("float32",), strategies=("triton",)) == [("N=9", "float32", "k"), ("N=1", "float32", "k")]
    assert cells(strategies=("autograd",)) == cells(layers=("two",)) == []


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_without_a_gpu_one_line_says_so(cli: Cli, tmp_path: Path) -> None:
    done = cli("tune", "--layer", "rms_norm", "--out", tmp_path / "run")
    assert done.returncode == 4
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("layerbench: ")]
    assert "no CUDA device is available to this torch" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "cpu"), "launches are tuned on the GPU they are for: --device cuda"),
        (("--layer", "nope"), "unknown layer 'nope': choose from affine"),
        (("--dtype", "float64"), "unknown dtype 'float64': choose from bfloat16, float32"),
        (("--budget", "soon"), "--budget soon: give a time such as 90s"),
    ],
)
def test_a_mistake_gets_one_line(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli("tune", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
