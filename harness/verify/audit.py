"""The audit: beliefs about how custom layers are trained, each settled by running it on the torch at hand.

What was found is held against what is documented, fact by fact, so that a later torch that behaves differently is
noticed. The page in docs/ is the audit's own output.
"""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.verify.claims import CLAIMS
from harness.verify.claims.claim import Claim, Fact, Verdict, verdict


class UnknownClaimError(ValueError):
    """A name that no claim has."""


@dataclass(frozen=True)
class Finding:
    """A claim, settled.

    Attributes:
        expected: the verdict that is documented.
        evidence: what was seen, in order; empty where the experiment did not run to its end.
        departed: what was seen otherwise than documented; for ``error``, the error.
        reason: why the experiment did not run.
        code: the experiment's source, to be run after PREAMBLE.
    """

    name: str
    belief: str
    verdict: Verdict
    expected: Verdict
    evidence: tuple[Fact, ...]
    departed: tuple[str, ...]
    reason: str
    lesson: str
    code: str


PREAMBLE = f"""\
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.gradcheck import GradcheckError, gradcheck


{inspect.getsource(Fact)}"""
"""What the source of every experiment needs to run outside this project."""


def run(names: Sequence[str] = ()) -> list[Finding]:
    """Settle the claims of these names, or all.

    Raises:
        UnknownClaimError: a name that no claim has; the message lists those that there are.
    """
    known = [claim.name for claim in CLAIMS]
    for name in names:
        if name not in known:
            raise UnknownClaimError(f"no claim is called {name}; there are {', '.join(known)}")
    return [settle(claim) for claim in CLAIMS if not names or claim.name in names]


def settle(claim: Claim) -> Finding:
    """Run the experiment; what it raises becomes the verdict ``error``, which is a departure."""
    unable = _why_nothing_compiles() if claim.compiles else ""
    if unable:
        return _finding(claim, "not_run", reason=unable)
    try:
        with _isolated(claim):
            facts = claim.experiment()
        answers = [(fact.text, fact.agrees) for fact in facts if fact.agrees is not None]
        departed = [text for (text, agrees), like in zip(answers, claim.expected, strict=True) if agrees != like]
    except Exception as error:  # noqa: BLE001 - another torch may raise anything; it becomes the verdict
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return _finding(claim, "error", departed=(reason,), reason=reason)
    return _finding(claim, verdict([agrees for _, agrees in answers]), tuple(facts), tuple(departed))


def _finding(
    claim: Claim, found: Verdict, evidence: tuple[Fact, ...] = (), departed: tuple[str, ...] = (), reason: str = ""
) -> Finding:
    expected = verdict(claim.expected)
    return Finding(claim.name, claim.belief, found, expected, evidence, departed, reason, claim.lesson, claim.code)


@contextmanager
def _isolated(claim: Claim) -> Iterator[None]:
    """Gradients on; torch's own deprecated calls don't speak; compiled graphs don't outlive their Functions."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            if claim.compiles:
                torch.compiler.reset()


def _why_nothing_compiles() -> str:
    """Why ``torch.compile`` compiles nothing here; empty where it does."""

    def probe(x: Tensor) -> Tensor:
        return torch.add(x, torch.compiler.is_compiling())

    try:
        compiled = torch.compile(probe, backend="eager")(torch.tensor(0)).item()
    except RuntimeError as error:
        return f"torch.compile: {' '.join(str(error).split())[:300]}"
    return "" if compiled else "torch.compile is switched off"


def departures(findings: Sequence[Finding]) -> list[Finding]:
    """Those that did not turn out as documented; what could not run on this machine is none of them."""
    return [finding for finding in findings if finding.departed]


def table(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """A row for each finding: name, belief, verdict, evidence in few words."""
    return [
        {"name": f.name, "belief": f.belief, "verdict": _verdict_text(f), "evidence": _in_few_words(f)}
        for f in findings
    ]


def _verdict_text(finding: Finding) -> str:
    return finding.verdict.replace("_", " ")


def _in_few_words(finding: Finding) -> str:
    """The first fact against the belief and the first for it, or why there is none."""
    against = [fact.text for fact in finding.evidence if fact.agrees is False][:1]
    agreeing = [fact.text for fact in finding.evidence if fact.agrees is True][:1]
    return "; ".join(against + agreeing) or finding.reason


_MARKS = {True: "✓", False: "✗", None: "·"}


def to_text(findings: Sequence[Finding]) -> str:
    """For a terminal: verdict and belief, the evidence, the lesson."""
    blocks = []
    for f in findings:
        lines = [f"{_verdict_text(f).upper():<11} {f.belief}  [{f.name}]"]
        lines += [f"  {_MARKS[fact.agrees]} {fact.text}" for fact in f.evidence]
        lines += [f"  not as documented: {what}" for what in f.departed] or ([f"  {f.reason}"] if f.reason else [])
        blocks.append(
            "\n".join([*lines, textwrap.fill(f.lesson, 100, initial_indent="  → ", subsequent_indent="    ")])
        )
    return "\n\n".join(blocks) + "\n"


def to_markdown(findings: Sequence[Finding], torch_version: str = torch.__version__) -> str:
    """The page, the same on every run with the same torch; the version's build (``+cpu``) is left out."""
    rows = [f"| [{r['belief']}](#{r['name']}) | **{r['verdict']}** | {r['evidence']} |" for r in table(findings)]
    parts = [
        "# How custom layer parameters get updated during backpropagation",
        _SHORT_ANSWER,
        "## What people believe, and what happens",
        _HOW_TO_READ.format(version=torch_version.partition("+")[0]),
        "\n".join(["| belief | verdict | evidence |", "| --- | --- | --- |", *rows]),
        "## Belief by belief",
        _HOW_TO_RUN,
        f"```python\n{PREAMBLE}```",
        *map(_section, findings),
    ]
    return "\n\n".join(parts) + "\n"


def _section(finding: Finding) -> str:
    evidence = [f"- {_MARKS[fact.agrees]} {fact.text}" for fact in finding.evidence] or [f"- {finding.reason}"]
    otherwise = [f"- not as documented: {what}" for what in finding.departed]
    return "\n\n".join(
        [
            f'<a id="{finding.name}"></a>\n\n### {finding.belief}',
            f"**{_verdict_text(finding)}**",
            "\n".join([*evidence, *otherwise]),
            finding.lesson,
            f"<details><summary>The experiment</summary>\n\n```python\n{finding.code}```\n\n</details>",
        ]
    )


_SHORT_ANSWER = """\
The forward pass records a graph: each torch operation on a tensor that requires a gradient adds a node.
`loss.backward()` walks that graph from the loss to its leaves and *adds* each leaf's gradient to its `.grad`; it
changes no weight. `optimizer.step()` reads the `.grad` of the tensors that it was given, and changes their values;
`optimizer.zero_grad()` clears `.grad` for the next step. Registering a weight (assigning an `nn.Parameter` to an
attribute of the module) makes `parameters()` find it, and so the optimizer, `state_dict()` and `.to()`.

Nothing else is needed: a layer made of torch operations trains without a `backward` of its own. A method named
`backward` on an `nn.Module` plays no part, because autograd never calls it. A gradient written by hand belongs in a
`torch.autograd.Function` with `forward`, `setup_context` and a `backward` that *returns* the gradients, and does not
assign them. Complete examples are below: [a layer without a `backward`](#layer-needs-backward) and
[a Function](#gradient-in-function)."""

_HOW_TO_READ = """\
Each belief was settled by running it, on torch {version}. The numbers are from that run; what is *right* beside them
follows from the values in the code. Regenerate with
`python -m harness audit --page docs/how-parameters-are-updated.md`.

A belief is *true* if every fact that decides agrees with it (✓), *false* if none does (✗), and else *it depends*. Lines
marked · are context and decide nothing."""

_HOW_TO_RUN = """\
The code is that which ran. To run an experiment elsewhere, put these lines before it and print what it returns."""
