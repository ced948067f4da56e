"""The whole gate, as a user runs it: every strategy passes, and a flipped sign in any backward does not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.layers.discover import load, scan
from tests.conftest import ROOT, Cli

LAYERS = {e.layer: e for e in scan(["implementations"]) if not e.strategy}
ENTRIES = {(e.layer, e.strategy): e for e in scan(["implementations"]) if e.strategy}
ON_CUDA_ALONE = [key for key, e in ENTRIES.items() for s in [load(e).value] if s.devices == ("cuda",) and not s.kernels]
STRATEGIES = [key for key in ENTRIES if key not in ON_CUDA_ALONE]


@pytest.fixture(scope="module")
def verified(cli: Cli) -> dict[str, Any]:
    done = cli("verify", "--device", "cpu", "--json", timeout=2000)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("layer", "strategy"), STRATEGIES)
def test_a_strategy_passes(verified: dict[str, Any], layer: str, strategy: str) -> None:
    (row,) = [r for r in verified["gate"] if (r["layer"], r["strategy"]) == (layer, strategy)]
    assert row["result"] == "ok", row
    mine = [c for c in verified["checks"] if (c["layer"], c["strategy"]) == (layer, strategy)]
    assert not [c for c in mine if c["result"] == "wrong" and not c["upstream"]]
    always = ("values", "stale", "untouched", "updated", "frozen", "repeats")
    assert {c["result"] for c in mine if c["check"] in always} - {"not_run", "ill_conditioned"} == {"ok"}
    assert {c["check"] for c in mine if c["result"] == "not_run"}.isdisjoint(always[1:])
    assert {c["dtype"] for c in mine if c["check"] == "values"} >= {"float64", "float32", "bfloat16"}
    assert any(c["check"] == "gradcheck" for c in mine)
    operands = [n for n, o in load(LAYERS[layer]).value.operands.items() if o.differentiable]
    assert {c["tensor"] for c in mine if c["check"] == "values" and c["result"] != "not_run"} == {
        "output",
        *(f"gradient of {n}" for n in operands),
    }
    trained = [t for t in verified["training"] if (t["layer"], t["strategy"]) == (layer, strategy)]
    assert {t["result"] for t in trained} == {"ok"}
    assert {t["verdict"] for t in trained if t["dtype"] == "float32"} == {"equivalent"}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("layer", "strategy"), ON_CUDA_ALONE)
def test_what_runs_on_cuda_alone_is_skipped_with_the_reason(
    verified: dict[str, Any], layer: str, strategy: str
) -> None:
    (row,) = [r for r in verified["gate"] if (r["layer"], r["strategy"]) == (layer, strategy)]
    assert (row["result"], row["reason"], row["checks"]) == (
        "skipped",
        "runs on cuda only, and declares no Triton kernels to interpret",
        0,
    )


OFFERS = {
    "autograd": {"double_backward", "forward_ad", "func_grad", "per_sample", "jacrev", "compile", "autocast", "copies"},
    "function": {"double_backward", "func_grad", "per_sample", "jacrev", "compile", "autocast", "checkpoint", "copies"},
    "triton": {"double_backward", "func_grad", "per_sample", "jacrev", "compile", "autocast", "checkpoint", "copies"},
    "func": {"double_backward", "forward_ad", "func_grad", "per_sample", "jacrev", "compile", "autocast"},
    "library": {"double_backward", "func_grad", "per_sample", "compile", "autocast", "checkpoint", "copies"},
    "compiled": {"compile", "autocast", "checkpoint", "copies"},
    "function_compiled": {"compile", "autocast", "checkpoint", "copies"},
}
NOT_OFFERED = {("decay_attention", "triton"): {"double_backward"}}
EVERYWHERE = {"frozen", "layouts", "cotangents", "leading_dims", "empty"}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("layer", "strategy"), STRATEGIES)
def test_it_can_be_combined_with_what_it_should(verified: dict[str, Any], layer: str, strategy: str) -> None:
    rows = [r for r in verified["matrix"] if (r["layer"], r["strategy"]) == (layer, strategy)]
    found = {r["check"]: r["result"] for r in rows}
    tape = set() if strategy == "func" else {"accumulation", "data_parallel"}
    not_offered = NOT_OFFERED.get((layer, strategy), set())
    assert {found[check] for check in not_offered} <= {"limited"}
    for check in (OFFERS[strategy] | EVERYWHERE | tape) - not_offered:
        assert found[check] == "ok", (check, rows)
    assert not {"wrong", "wasteful"} & {*found.values()}
    upstream = {check for check, result in found.items() if result == "upstream"}
    assert upstream <= ({"double_backward"} if "compiler" in load(ENTRIES[layer, strategy]).value.needs else set())


@pytest.mark.timeout(2400)
def test_every_planted_fault_is_caught(verified: dict[str, Any]) -> None:
    assert {c["result"] for c in verified["controls"]} <= {"caught", "not_run"}
    assert {c["control"] for c in verified["controls"] if c["result"] == "not_run"} == {"tf32"}
    assert len(verified["controls"]) > 50


@pytest.mark.timeout(2400)
def test_answers_repeat_bit_for_bit(verified: dict[str, Any]) -> None:
    rows = verified["determinism"]
    assert {(r["layer"], r["strategy"]) for r in rows} == set(STRATEGIES)
    assert {r["repeats"] for r in rows} == {r["fresh_process"] for r in rows} == {"bitwise"}


@pytest.mark.timeout(2400)
def test_triton_s_kernels_were_launched_in_both_passes(verified: dict[str, Any]) -> None:
    launched = {(c["layer"], c["tensor"]) for c in verified["checks"] if c["check"] == "launches"}
    assert launched == {
        ("affine", "product_kernel in forward"),
        ("affine", "product_kernel in backward"),
        ("affine", "slope_kernel in backward"),
        ("affine", "column_sum_kernel in backward"),
        ("rms_norm", "forward_kernel in forward"),
        ("rms_norm", "backward_kernel in backward"),
        ("rms_norm", "add_shares_kernel in backward"),
        ("decay_attention", "forward_kernel in forward"),
        ("decay_attention", "delta_kernel in backward"),
        ("decay_attention", "key_kernel in backward"),
        ("decay_attention", "query_kernel in backward"),
        ("swiglu", "twin_kernel in forward"),
        ("swiglu", "twin_kernel in backward"),
        ("swiglu", "product_kernel in forward"),
        ("swiglu", "product_kernel in backward"),
        ("swiglu", "slope_kernel in backward"),
        ("weighted_sum", "column_sum_kernel in forward"),
        ("weighted_sum", "repeat_row_kernel in backward"),
    }


MUTATIONS = [
    ("affine", "function", "g @ weight.T if", "-(g @ weight.T) if", "gradient of x"),
    ("affine", "function", "x.T @ g if", "-(x.T @ g) if", "gradient of weight"),
    ("affine", "function", "g.sum(0) if", "-g.sum(0) if", "gradient of bias"),
    ("affine", "function", "gelu_backward(g, z)", "gelu_backward(g, -z)", "gradient of x"),
    ("affine", "triton", "ColumnSum.apply(delta) if", "-ColumnSum.apply(delta) if", "gradient of bias"),
    ("affine", "triton", "Product.apply(x.T, delta) if", "-Product.apply(x.T, delta) if", "gradient of weight"),
    ("affine", "triton", "+ at * (tl.exp", "- at * (tl.exp", "gradient of x"),
    ("rms_norm", "function", "x * (-slope", "x * (slope", "gradient of x"),
    ("rms_norm", "function", "torch.stack(shares)", "-torch.stack(shares)", "gradient of weight"),
    ("rms_norm", "triton", "return of_x if", "return -of_x if", "gradient of x"),
    ("rms_norm", "triton", "None, of_weight if", "None, -of_weight if", "gradient of weight"),
    ("swiglu", "function", "slope = b * _slope", "slope = -b * _slope", "gradient of x"),
    ("swiglu", "function", "of_b = of_h * F", "of_b = -of_h * F", "gradient of x"),
    ("swiglu", "function", "(F.silu(a) * b).T @ g", "-(F.silu(a) * b).T @ g", "gradient of down"),
    ("swiglu", "triton", "of_gate if need_gate", "-of_gate if need_gate", "gradient of gate"),
    ("swiglu", "triton", "of_up if need_up", "-of_up if need_up", "gradient of up"),
    ("weighted_sum", "function", "(g * weight + of", "(-g * weight + of", "gradient of x"),
    ("weighted_sum", "function", "g * columns if need_weight", "-g * columns if need_weight", "gradient of weight"),
    ("weighted_sum", "triton", "RepeatRow.apply(g, ctx", "RepeatRow.apply(-g, ctx", "gradient of x"),
    ("decay_attention", "function", "dq.append(narrow", "dq.append(-narrow", "gradient of q"),
    ("decay_attention", "function", "dk, narrow.mT", "dk, -narrow.mT", "gradient of k"),
    ("decay_attention", "function", "dv, p.to", "dv, -p.to", "gradient of v"),
    ("decay_attention", "function", "-torch.stack(of_amplitude)", "torch.stack(of_amplitude)", "gradient of amplitude"),
    ("decay_attention", "function", "(-amplitude * torch", "(amplitude * torch", "gradient of rate"),
    ("decay_attention", "triton", "dq, dk, dv, None", "dq, -dk, dv, None", "gradient of k"),
]


def _bring_tables(layer: str, folder: Path) -> None:
    for tables in (ROOT / "implementations" / layer).glob("launches"):
        if not (folder / "launches").exists():
            (folder / "launches").symlink_to(tables)


@pytest.mark.timeout(2400)
def test_a_flipped_sign_in_any_backward_is_named(cli: Cli, tmp_path: Path) -> None:
    for number, (layer, strategy, right, wrong, _) in enumerate(MUTATIONS):
        source = (ROOT / "implementations" / layer / f"{strategy}.py").read_text()
        assert source.count(right) == 1, (layer, strategy, right)
        folder = tmp_path / "mutated" / layer
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"mutant{number}.py").write_text(source.replace(right, wrong))
        for private in (ROOT / "implementations" / layer).glob("_[a-z]*.py"):
            (folder / private.name).write_text(private.read_text())
        _bring_tables(layer, folder)
    options = [x for n in range(len(MUTATIONS)) for x in ("--strategy", f"mutant{n}")]
    done = cli("verify", "--quick", "--device", "cpu", "--from", tmp_path / "mutated", *options, timeout=2000)
    assert done.returncode == 1
    for number, (layer, _, _, _, tensor) in enumerate(MUTATIONS):
        (line,) = [
            x for x in done.stdout.splitlines() if x.startswith("|") and f"mutant{number} " in x and "wrong" in x
        ]
        assert re.search(rf"{layer} .*wrong.*{tensor}, float64, .*error [\d.e+-]+, bound [\d.e+-]+", line), line
        again = f"--layer {layer} --strategy mutant{number} --device cpu --check values --dtype float64"
        assert again in done.stdout


CHEATED = "columns = ColumnSum.apply(x if x.dim() == 2 else x.flatten(0, -2))"


def test_a_kernel_that_is_declared_and_never_launched_is_found(cli: Cli, tmp_path: Path) -> None:
    source = (ROOT / "implementations" / "weighted_sum" / "triton.py").read_text()
    assert source.count(CHEATED) == 1
    folder = tmp_path / "cheats" / "weighted_sum"
    folder.mkdir(parents=True)
    _bring_tables("weighted_sum", folder)
    (folder / "cheat.py").write_text(source.replace(CHEATED, "columns = x.flatten(0, -2).sum(0)"))
    done = cli("verify", "--quick", "--device", "cpu", "--from", tmp_path / "cheats", "--strategy", "cheat")
    assert done.returncode == 1
    assert "column_sum_kernel in forward" in done.stdout
    assert "launched 0 times" in done.stdout
