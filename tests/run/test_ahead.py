"""``aot``: kernels compiled in worker processes for targets that are not there, and what its table and exit code say."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PACKAGES, Cli

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture(scope="module")
def answer(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("aot") / "kernels.md"
    # in an interpreter nothing is compiled: the switch must not reach the workers
    done = cli(
        "aot", "--layer", "product", "--from", PACKAGES / "kernels", "--target", "sm_90", "--target", "gfx942",
        "--out", out, "--json", TRITON_INTERPRET="1",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr, "page": out.read_text()}


def _row(answer: dict[str, Any], signature: str, target: str, strategy: str = "dots") -> dict[str, Any]:
    (row,) = (
        r for r in answer["kernels"] if (r["strategy"], r["signature"], r["target"]) == (strategy, signature, target)
    )
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize(
    ("signature", "target", "result", "cores", "detail"),
    [
        ("bf16", "sm_90", "ok", "wgmma", ""),
        ("bf16", "gfx942", "ok", "mfma", ""),
        ("careless", "sm_90", "ok", "wgmma", "float32 dots in TF32"),
        ("exact", "sm_90", "over", "", "spills: "),
        ("exact", "gfx942", "ok", "mfma", ""),
        ("8 warps", "sm_90", "ok", "", ""),
        ("float64", "sm_90", "missing", "", "claims float64, but declares no signature of it"),
    ],
)
def test_each_signature_has_its_row(
    answer: dict[str, Any], signature: str, target: str, result: str, cores: str, detail: str
) -> None:
    row = _row(answer, signature, target)
    assert row["result"] == result
    assert row["tensor_cores"].split("=")[0] == cores
    assert row["detail"].startswith(detail)
    assert bool(row["detail"]) == bool(detail)
    assert result == "missing" or 0 < row["registers"] <= 512
    assert result == "missing" or 0 <= row["shared"] <= row["shared_limit"]


def test_a_configuration_is_compiled_for_its_own_targets_only(answer: dict[str, Any]) -> None:
    assert [r["target"] for r in answer["kernels"] if r["signature"] == "8 warps"] == ["sm_90"]
    assert _row(answer, "8 warps", "sm_90")["options"] == "num_warps=8"


def test_what_the_compiler_refuses_has_its_reason(answer: dict[str, Any]) -> None:
    row = _row(answer, "fp32", "sm_90", "does_not_compile")
    assert row["result"] == "compile_error"
    assert row["detail"].endswith("the block is too small")
    assert row["registers"] is None


def test_a_kernel_that_kills_its_compiler_is_named_and_the_others_are_compiled(answer: dict[str, Any]) -> None:
    dead = [s for s in answer["statuses"] if s["strategy"] == "kills_the_compiler"]
    assert {(s["status"], s["device"]) for s in dead} == {("crashed", "sm_90"), ("crashed", "gfx942")}
    assert all("in: deadly_kernel fp32" in s["reason"] for s in dead)
    assert "product/kills_the_compiler for sm_90: killed by signal 6" in answer["stderr"]


def test_the_page_has_the_table_and_what_is_not_as_it_should_be(answer: dict[str, Any]) -> None:
    assert "* sm_90: " in answer["page"]
    assert "* product/dots dot_kernel (careless) for sm_90: float32 dots in TF32" in answer["page"]


def test_nothing_to_compile_ends_with_4(cli: Cli) -> None:
    done = cli("aot", "--layer", "wave", "--from", PACKAGES / "tricky", "--target", "sm_80")
    assert done.returncode == 4, done.stderr
    assert "layerbench: nothing was compiled" in done.stderr


def test_a_table_for_programs(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "kernels.csv"
    done = cli("aot", "--layer", "weighted_sum", "--target", "sm_80", "--out", out)
    assert done.returncode == 0, done.stderr
    head, *lines = out.read_text().splitlines()
    assert head.startswith("layer,strategy,kernel,signature,target,options,registers,shared,shared_limit,stack")
    assert lines
    assert all(",sm_80," in line and ",ok," in line for line in lines)
    assert "sm_80: " in done.stdout
