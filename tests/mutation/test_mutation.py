"""The mutants are what they should be, and the gate catches a dozen of them; ``python -m tests.mutation`` runs all."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutation.__main__ import fates
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.targets import files, modules, targets
from tests.mutation.verdicts import excerpt, proofs

FILES = files()
found_in = cache(mutants)

SOME = {
    "affine/function.py": [
        ("Affine.setup_context", "ctx.save_for_backward(x, weight)", "ctx.save_for_backward(x.detach(), weight)"),
        ("Affine.backward", "g @ weight.T if need_x", "-(g @ weight.T) if need_x"),
        ("Affine.backward", "x.T @ g if need_weight", "(x.T @ g).detach() if need_weight"),
        ("Affine.backward", "g @ weight.T if need_x else None", "g @ weight.T"),
        ("Affine.backward", "g.sum(0) if", "g.mean(0) if"),
        ("Affine.backward", "g.sum(0) if", "g.select(0, 0) if"),
        ("Affine.backward", "g.sum(0) if", "(lambda t: t.bfloat16().to(t.dtype))(g.sum(0)) if"),
        ("Affine.backward", "g.sum(0) if", "g.sum(0, keepdim=True) if"),
    ],
    "weighted_sum/function.py": [
        ("WeightedSum.setup_context", "(weight, output[1])", "(output[1], weight)"),
        ("WeightedSum.backward", "def backward", "@torch.autograd.function.once_differentiable"),
        ("WeightedSum.backward", "g * weight + of_columns", "g * weight - of_columns"),
        ("WeightedSum.backward", "g * columns if need_weight", "1.001 * (g * columns) if need_weight"),
        ("WeightedSum.backward", "need_x, need_weight = ctx", "need_weight, need_x = ctx"),
    ],
}


def _names(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", FILES, ids=_names)
def test_mutants_compile_and_differ(path: Path) -> None:
    original = ast.dump(ast.parse(path.read_text()))
    found = found_in(path)
    dumps = {ast.dump(ast.parse(m.source)) for m in found}
    assert len(found) > 30
    assert len(dumps) == len(found)
    assert original not in dumps
    assert len({m.key for m in found}) == len(found)
    with_something = {t.name for t in targets(ast.parse(path.read_text())) if len(ast.unparse(t.node.body[-1])) > 50}
    assert with_something <= {m.function for m in found}


def test_backwards_in_and_out_of_the_tape_are_found() -> None:
    names = {_names(p) for p in FILES}
    assert names >= {
        f"{layer}/{s}.py" for layer in ("affine", "rms_norm", "weighted_sum") for s in ("function", "triton")
    }
    assert not any(name.endswith(("autograd.py", "library.py")) for name in names)


def test_every_proof_is_of_a_mutant() -> None:
    keys = {m.key for path in FILES for file in (path, *modules(path)) for m in found_in(file)}
    stale = set(proofs()) - keys
    assert not stale, f"these lines have changed, so their proofs must be thought over: {stale}"


def test_an_excerpt_shows_where_two_statements_differ() -> None:
    before, after = excerpt("a" * 99 + " + b" + "c" * 99, "a" * 99 + " - b" + "c" * 99, around=3)
    assert (before, after) == ("… aa + bc …", "… aa - bc …")


def _the(found: list[Mutant], function: str, before: str, after: str) -> Mutant:
    def fits(m: Mutant) -> bool:
        return m.function == function and (m.mutated == after or m.mutated == m.original.replace(before, after))

    (mutant,) = [m for m in found if fits(m)]
    return mutant


@pytest.mark.parametrize("path", [p for p in FILES if _names(p) in SOME], ids=_names)
def test_the_gate_catches_mutants(path: Path) -> None:
    found = found_in(path)
    chosen = [_the(found, *line) for line in SOME[_names(path)]]
    ended = {fate.number: fate for fate in fates(path, chosen, workers=2, rehearse=False)}
    assert len(ended) == len(chosen)
    for number, mutant in enumerate(chosen):
        assert ended[number].outcome == "wrong", (mutant.mutated, ended[number])
