"""The audit finds what is documented, says so when it does not, and leaves no trace."""

import dataclasses
import json
import re
import warnings
from pathlib import Path

import pytest
import torch

from harness.verify import audit
from harness.verify.claims import CLAIMS
from harness.verify.claims.claim import Claim, Fact, verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-parameters-are-updated.md"
BY_NAME = {claim.name: claim for claim in CLAIMS}


@pytest.fixture(scope="module")
def findings() -> list[audit.Finding]:
    return audit.run()


@pytest.mark.parametrize("name", BY_NAME)
def test_found_as_documented(findings: list[audit.Finding], name: str) -> None:
    finding = next(f for f in findings if f.name == name)
    assert finding.verdict == finding.expected, finding.reason
    assert not finding.departed
    assert finding.evidence
    assert finding.lesson
    assert finding.belief.endswith(".")


def test_names_are_unique_and_all_verdicts_occur(findings: list[audit.Finding]) -> None:
    assert len(BY_NAME) == len(CLAIMS) == len(findings)
    assert {f.verdict for f in findings} == {"true", "false", "it depends"}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_code_shown_runs_alone_and_sees_the_same(findings: list[audit.Finding], name: str) -> None:
    finding = next(f for f in findings if f.name == name)
    names: dict[str, object] = {"__name__": "pasted"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(audit.PREAMBLE + finding.code, names)
        facts = names[BY_NAME[name].experiment.__name__]()  # type: ignore[operator]
    assert [(fact.text, fact.agrees) for fact in facts] == [(fact.text, fact.agrees) for fact in finding.evidence]
    torch.compiler.reset()


def test_the_page_is_the_audit_s_own_output(findings: list[audit.Finding]) -> None:
    page = PAGE.read_text()
    made_with = re.search(r"on torch (\S+)\. ", page)
    assert made_with
    if made_with[1] != torch.__version__.partition("+")[0]:
        pytest.skip(f"the page was made with torch {made_with[1]}")
    assert page == audit.to_markdown(findings)


def test_terminal_and_json_hold_every_finding(findings: list[audit.Finding]) -> None:
    text = audit.to_text(findings)
    rows = json.loads(json.dumps([dataclasses.asdict(f) for f in findings]))
    assert [row["name"] for row in rows] == list(BY_NAME)
    assert all(f"[{f.name}]" in text and f.evidence[0].text in text for f in findings)
    assert all(row["evidence"] and len(row["evidence"]) < 200 for row in audit.table(findings))


def test_names_choose_and_run_in_the_page_s_order() -> None:
    chosen = audit.run(["grad-starts-afresh", "backward-updates-weights"])
    assert [f.name for f in chosen] == ["backward-updates-weights", "grad-starts-afresh"]
    with pytest.raises(audit.UnknownClaimError, match="no claim is called nothing; there are layer-needs-backward"):
        audit.run(["nothing"])


def test_a_torch_that_behaves_differently_is_a_departure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: None)
    (finding,) = audit.departures(audit.run(["layer-needs-backward", "backward-updates-weights"]))
    assert (finding.name, finding.verdict, finding.expected) == ("layer-needs-backward", "true", "false")
    assert finding.departed[1] == "distance that the weight moved: 0.00"
    assert "not as documented: distance that the weight moved: 0.00" in audit.to_text([finding])
    assert "- not as documented: distance" in audit.to_markdown([finding])


def _one_fact_turned() -> list[Fact]:
    """Something."""
    return [Fact("context"), Fact("first", agrees=True), Fact("second", agrees=False)]


def test_a_fact_that_turns_is_a_departure_though_the_verdict_stays() -> None:
    finding = audit.settle(Claim("x", _one_fact_turned, (False, True), "lesson"))
    assert finding.verdict == finding.expected == "it depends"
    assert finding.departed == ("first", "second")


def _raises() -> list[Fact]:
    """Something."""
    raise TypeError("not\nany more")


def test_what_an_experiment_raises_is_told() -> None:
    finding = audit.settle(Claim("x", _raises, (False,), "lesson"))
    assert (finding.verdict, finding.reason) == ("error", "TypeError: not any more")
    assert audit.departures([finding]) == [finding]
    assert "TypeError: not any more" in audit.to_text([finding])
    assert audit.settle(Claim("x", _one_fact_turned, (True,), "lesson")).verdict == "error"


def test_without_torch_compile_the_claim_is_not_run_and_no_departure(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(*_: object, **__: object) -> None:
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", compile_)
    (finding,) = audit.run(["compile-keeps-backward"])
    assert (finding.verdict, finding.reason) == (
        "not_run", "torch.compile: torch.compile is not supported on this Python"
    )  # fmt: skip
    assert not audit.departures([finding])
    assert finding.reason in audit.to_text([finding])
    assert finding.reason in audit.to_markdown([finding])

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert audit.run(["compile-keeps-backward"])[0].reason == "torch.compile is switched off"


@pytest.mark.parametrize(
    ("answers", "expected"), [([True, True], "true"), ([False], "false"), ([True, False], "it depends")]
)
def test_verdict(answers: list[bool], expected: str) -> None:
    assert verdict(answers) == expected


def test_global_state_is_left_as_it_was() -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(), torch.get_default_device(), list(warnings.filters),
            torch.is_autocast_enabled("cpu"), torch.nn.Module.__dict__.get("backward"),
        )  # fmt: skip

    with torch.no_grad():
        before = state()
        assert not audit.departures(audit.run())
        assert state() == before
