"""Waivers: which there are, whom they serve, and what the gate says of a strategy that has one."""

import json
from typing import Any

import pytest

from harness.layers.limits import LIMITS
from harness.records.schema import CHECKS
from harness.run.jobs import Cell, Job
from harness.run.plan import make_plan
from harness.run.waivers import WAIVABLE, refuse_unknown, unneeded, waived_for
from harness.run.wanted import UsageError, Wanted
from tests.conftest import PACKAGES, Cli
from tests.run.test_plan import LAYERS, MACHINE, STRATEGIES

GAIN = ("--layer", "gain", "--from", PACKAGES / "limits" / "gain.py", "--device", "cpu")


def test_what_times_rest_on_cannot_be_waived() -> None:
    assert {*WAIVABLE} <= {*CHECKS}
    assert {*LIMITS} <= {*WAIVABLE}
    rested_on = {"values", "untouched", "launches", "repeats", "updated", "settled", "guarded", "global_state",
                 "steady_memory", "released"}  # fmt: skip
    assert not rested_on & {*WAIVABLE}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("jacref", r"--waive jacref: unknown check 'jacref': choose from double_backward, "),
        ("values", r"--waive values: values cannot be waived, since times rest on it: mend it, or choose from double"),
        ("jacrev:new", r"--waive jacrev:new: unknown strategy 'new': choose from autograd, hand"),
        ("jacrev:", r"--waive jacrev:: unknown strategy '': choose from autograd, hand"),
        ("jacrev:autograd", r"--waive jacrev:autograd: autograd is a baseline, and a waived row cannot be one"),
    ],
)
def test_a_waiver_that_cannot_be_is_refused_in_a_line(asked: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_unknown((asked,), ("autograd", "hand"), ("autograd",))


def test_a_waiver_serves_all_or_one_and_what_rests_on_it() -> None:
    asked = ("layouts", "double_backward:hand")
    assert waived_for(asked, "hand") == ("double_backward", "layouts", "third_order")
    assert waived_for(asked, "other") == ("layouts",)


def test_a_waiver_that_nobody_needed_is_named() -> None:
    waived = [{"check": "third_order", "strategy": "hand"}, {"check": "layouts", "strategy": "other"}]
    asked = ("double_backward:hand", "layouts", "layouts:hand", "jacrev")
    assert [line.split()[2] for line in unneeded(asked, waived)] == ["layouts:hand", "jacrev"]


def _gates(**wanted: Any) -> dict[str, Cell]:
    plan = make_plan(Wanted(profile="quick", layers=("one",), **wanted), LAYERS, STRATEGIES, MACHINE, ("x",))
    assert plan.gate_jobs(1)[0] == Job.from_json(plan.gate_jobs(1)[0].to_json())
    return {cell.strategies[0]: cell for cell in plan.gates}


def test_a_baseline_has_no_waiver_where_it_is_measured() -> None:
    gates = _gates(waive=("jacrev",))
    assert (gates["autograd"].waive, gates["compiled"].waive) == ((), ("jacrev",))
    assert _gates(waive=("jacrev",), measure=False)["autograd"].waive == ("jacrev",)
    with pytest.raises(UsageError, match="compiled is a baseline"):
        _gates(waive=("jacrev:compiled",), baseline="compiled")


def _gate(cli: Cli, *more: str) -> tuple[int, dict[str, Any], str]:
    done = cli("verify", *GAIN, "--json", *more)
    return done.returncode, {r["strategy"]: r for r in json.loads(done.stdout)["gate"]}, done.stderr


def test_waived_refusals_are_told_and_do_not_fail_and_others_do(cli: Cli) -> None:
    both = ("--strategy", "once", "--check", "double_backward", "--check", "backward_returns", "--dtype", "float64")
    code, gate, said = _gate(cli, *both, "--waive", "double_backward", "--waive", "jacrev")
    assert (code, gate["once"]["result"]) == (0, "waived")
    assert gate["once"]["reason"].startswith("double_backward: gradient of x, float64")
    assert "gain/once: double_backward is waived, so its rows have no verdict: double_backward: gradient of x" in said
    assert "--waive jacrev was not needed" in said
    both = ("--strategy", "misshapen", *both[2:])
    code, gate, _ = _gate(cli, *both, "--waive", "double_backward")
    assert (code, gate["misshapen"]["result"]) == (1, "wrong")
    assert gate["misshapen"]["reason"].endswith("; next: sum each gradient to its argument's shape, None where"
                                                " ctx.needs_input_grad is False")  # fmt: skip


def test_an_error_in_a_waived_check_is_set_aside_and_the_gate_goes_on(cli: Cli) -> None:
    only = ("--strategy", "refuses_to_accumulate", "--check", "accumulation", "--check", "repeats")
    code, gate, _ = _gate(cli, *only)
    own = gate["refuses_to_accumulate"]
    assert (code, own["result"], own["checks"]) == (1, "runtime_error", 0)
    assert "RuntimeError: clear the gradients first; next: call it alone" in own["reason"]
    code, gate, _ = _gate(cli, *only, "--waive", "accumulation")
    own = gate["refuses_to_accumulate"]
    assert (code, own["result"]) == (0, "waived")
    assert own["checks"] > 0
    assert own["reason"].endswith("RuntimeError: clear the gradients first")


def test_a_refusal_says_what_to_do_next_and_the_marks_have_a_legend(cli: Cli) -> None:
    chosen = ("--strategy", "once", "--strategy", "declares", "--strategy", "wasteful")
    checks = ("--check", "double_backward", "--check", "context", "--check", "backward_returns", "--dtype", "float64")
    done = cli("verify", *GAIN, *chosen, *checks)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    rows = {cells[2]: cells for line in lines if len(cells := [c.strip() for c in line.split("|")]) == 8}
    assert [rows[name][4].split()[0] for name in ("once", "declares", "wasteful")] == ["✗", "–", "✓"]
    assert [rows[name][5] for name in ("once", "declares", "wasteful")] == ["✓", "✓", "✓ʷ"]
    assert any(line.startswith("✓ right · ✓ʷ right, and wasteful · – not offered") for line in lines)
    nexts = [line for line in lines if line.startswith("    next: ")]
    assert len(nexts) == 1
    assert 'declare limits=("double_backward",)' in nexts[0]
    assert any(
        line.startswith("– gain/declares double backward: declared not to be offered, and silently") for line in lines
    )
    assert any(
        line.startswith("✓ʷ gain/wasteful saved-tensor hooks: a tensor that save_for_backward") for line in lines
    )
    assert any(line.startswith("✓ʷ gain/wasteful frozen inputs: Wasteful: a gradient of argument") for line in lines)
