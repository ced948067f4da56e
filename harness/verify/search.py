"""Looks for sizes, layouts and cotangents at which a strategy is wrong, and shrinks what it finds (Hypothesis).

The smallest failing example is given as code that reproduces it, through ``again``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.layers.discover import load, scan
from harness.layers.drawing import Values
from harness.layers.spec import Dims
from harness.records.schema import Check
from harness.verify import arranging
from harness.verify.asking import Local, StrategyError, claims_of
from harness.verify.judging import Subject, compare
from harness.verify.probes import gradients
from harness.verify.reference import Question, Yardstick, as_given

ARRANGEMENTS: dict[str, Callable[[Values], Values]] = {
    f.__name__: f for f in (as_given, *arranging.LAYOUTS, *arranging.COTANGENTS, arranging.positive)
}
LARGEST, LARGEST_INTERPRETED = 70, 17
EXAMPLES, EXAMPLES_INTERPRETED = 100, 15


NOT_EVERY_TIME = "asked for the same again it answered otherwise: a race, or a random draw"


class FoundError(AssertionError):
    """An example at which a strategy is wrong."""


def search(subject: Subject, seed: int) -> list[Check]:
    """Try many examples; the record of the smallest wrong one, or that none was found.

    Where Hypothesis is not installed the record says ``not_run``.
    """
    dims = subject.layer.check[0]
    record = subject.check("search", subject.claims.working_dtype, dims, "answer", "ok", seed=seed)
    if importlib.util.find_spec("hypothesis") is None:
        how = "hypothesis is not installed: pip install layerbench[search]"
        return [replace(record, result="not_run", detail=how)]
    import hypothesis
    from hypothesis import strategies as some

    sizes = some.integers(1, LARGEST_INTERPRETED if subject.interpreted else LARGEST)
    options = {name: some.sampled_from(values) for name, values in subject.layer.options.items()}
    found: list[list[Check]] = []

    @hypothesis.settings(
        max_examples=EXAMPLES_INTERPRETED if subject.interpreted else EXAMPLES,
        database=None, deadline=None, derandomize=True, report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(
        dims=some.fixed_dictionaries({name: options.get(name, sizes) for name in dims}),
        dtype=some.sampled_from(subject.claims.dtypes),
        draw=some.integers(0, 999),
        arranged=some.sampled_from(sorted(ARRANGEMENTS)),
    )
    def holds(dims: Dims, dtype: str, draw: int, arranged: str) -> None:
        hypothesis.assume(subject.layer.possible(dims))
        results = compare(subject, _question(arranged), dims, dtype, draw)
        wrong = [r for r in results if r.result == "wrong"]
        if wrong:
            code = _code(subject, dims, dtype, draw, arranged)
            found.append([replace(r, detail=f"{r.detail} reproduce: {code}".strip()) for r in wrong])
            raise FoundError

    try:
        holds()
    except FoundError:
        return found[-1]  # Hypothesis ends with the smallest
    except hypothesis.errors.Flaky as error:
        if not found:  # it raised, and then did not
            raise next((e for e in getattr(error, "exceptions", ()) if isinstance(e, StrategyError)), error) from None
        return [replace(r, detail=f"{NOT_EVERY_TIME}; {r.detail}") for r in found[-1]]
    except hypothesis.errors.Unsatisfiable:
        return [replace(record, result="not_run", detail="no sizes that the layer can have were found")]
    return [replace(record, draws=EXAMPLES_INTERPRETED if subject.interpreted else EXAMPLES)]


def _question(arranged: str) -> Question:
    return Question("search", gradients, arrange=ARRANGEMENTS[arranged], setting=arranged, optional=True)


def _code(subject: Subject, dims: Dims, dtype: str, seed: int, arranged: str) -> str:
    arguments = ", ".join(map(repr, (subject.layer_name, subject.strategy_name, dict(dims), dtype, seed, arranged)))
    return f"from harness.verify.search import again; print(again({arguments}))"


def again(
    layer: str, strategy: str, dims: Dims, dtype: str, seed: int, arranged: str = "as_given",
    sources: Sequence[str] = ("implementations",), device: str = "cpu",
) -> str:  # fmt: skip
    """Ask for one example again, in this process; a line for each tensor.

    Args:
        arranged: a key of ARRANGEMENTS.
        sources: where the layer and the strategy are found, as for ``--from``.
    """
    entries = {(e.layer, e.strategy): e for e in scan(sources)}

    def loaded(name: str | None) -> Any:
        result = load(entries[layer, name])
        if result.error is not None:
            raise ImportError(result.error)
        return result.value

    mine, own = loaded(strategy), loaded(None)
    yardstick = Yardstick(loaded(own.reference))
    subject = Subject(layer, own, strategy, claims_of(mine), Local(own, mine), yardstick, device)
    results = compare(subject, _question(arranged), dims, dtype, seed)
    return "\n".join(f"{r.tensor}: {r.result}, error {r.error}, bound {r.bound} {r.detail}" for r in results)
