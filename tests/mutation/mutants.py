"""The mutants of a file: one change each, all different, none equal to the original."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.mutation import statements
from tests.mutation.operators import OPERATORS, Place, text
from tests.mutation.targets import IMPLEMENTATIONS, Target, targets


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        file: the original, such as ``affine/function.py``.
        function: the function that was changed, and ``line`` the line of the original.
        what: what was done.
        original, mutated: the statement before and after.
        source: the whole file after.
    """

    file: str
    function: str
    line: int
    what: str
    original: str
    mutated: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names a mutant for as long as its statement stays as it is."""
        return self.file, self.function, self.original, self.mutated


@dataclass(frozen=True)
class _Change:
    what: str
    line: int
    old: ast.AST
    new: ast.AST | list[ast.stmt]
    original: str
    mutated: str


def mutants(path: Path) -> list[Mutant]:
    """All mutants of a strategy's file that compile and differ from it and from each other."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child._above = node  # type: ignore[attr-defined]
    file = path.relative_to(IMPLEMENTATIONS).as_posix()
    parts = [text(node) for node in tree.body]
    seen = set(parts)
    found = []
    for target in targets(tree):
        at = next(n for n, node in enumerate(tree.body) if any(part is target.node for part in ast.walk(node)))
        for change in _changes(target):
            part = text(_replaced(tree.body[at], change.old, change.new))
            try:
                parsed = ast.parse(part)
                compile(parsed, file, "exec")
            except SyntaxError:
                continue
            source = "\n\n\n".join([*parts[:at], part, *parts[at + 1 :]]) + "\n"
            plain = text(parsed)  # without brackets that change nothing
            if plain not in seen:
                seen.add(plain)
                mutant = Mutant(file, target.name, change.line, change.what, change.original, change.mutated, source)
                same = sum(m.key[:3] == mutant.key[:3] and m.mutated.startswith(mutant.mutated) for m in found)
                again = f"  # place {same + 1}" if mutant.key in {m.key for m in found} else ""
                found.append(replace(mutant, mutated=mutant.mutated + again))
    return found


def _changes(target: Target) -> Iterator[_Change]:
    node = target.node
    for what, line, new_function in statements.of_function(node, target):
        yield _Change(what, node.lineno, node, new_function, f"def {node.name}", line)
    place = _place(target)
    for statement in _statements(node):
        for what, new in statements.of_statement(statement, target):
            yield _of(statement, what, statement, new)
        for part in _expressions(statement):
            for operator in OPERATORS:
                for what, new_part in operator(part, place):
                    yield _of(statement, what, part, new_part)


def _of(statement: ast.stmt, what: str, old: ast.AST, new: ast.AST | list[ast.stmt]) -> _Change:
    return _Change(what, statement.lineno, old, new, _shown(statement), _shown(_replaced(statement, old, new)))


def _statements(node: ast.FunctionDef) -> Iterator[ast.stmt]:
    """The statements of a function, nested ones too; no docstrings."""
    for child in ast.walk(ast.Module(node.body, [])):
        text_alone = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if isinstance(child, ast.stmt) and not text_alone:
            yield child


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement itself, without nested statements and annotations."""
    waiting = [c for c in ast.iter_child_nodes(statement) if isinstance(c, ast.expr)]
    if isinstance(statement, ast.AnnAssign):
        waiting.remove(statement.annotation)
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, ast.Starred):
            yield part
        waiting += [
            c.value if isinstance(c, ast.keyword) else c
            for c in ast.iter_child_nodes(part)
            if isinstance(c, (ast.expr, ast.keyword))
        ]


def _replaced(node: ast.AST, old: ast.AST, new: ast.AST | list[ast.stmt]) -> Any:
    """A copy of a tree with something else in place of one node; what is not above that node is shared."""
    above, one = {id(old)}, old
    while one is not node:
        one = one._above  # type: ignore[attr-defined]
        above.add(id(one))

    def copied(each: Any) -> Any:
        if each is old:
            return new
        if id(each) not in above:
            return each
        twin = copy.copy(each)
        for name, value in ast.iter_fields(each):
            if isinstance(value, list):
                parts = [copied(v) for v in value]
                value = [p for part in parts for p in (part if isinstance(part, list) else [part])]
            setattr(twin, name, copied(value))
        return twin

    changed = copied(node)
    return ast.Module(changed, []) if isinstance(changed, list) else changed


def _shown(node: ast.AST) -> str:
    """A statement as source on one line; of a compound one the head alone."""
    if isinstance(node, (ast.For, ast.If, ast.With)):
        return text(node).split("\n")[0]
    return "; ".join(text(node).split("\n"))


def _place(target: Target) -> Place:
    """What could be taken for what in a function."""
    nodes = list(ast.walk(target.node))
    groups: list[list[str]] = []
    pointers: list[str] = []
    if target.kind == "kernel":
        arguments = target.node.args.args
        plain = [a.arg for a in arguments if a.annotation is None]
        flags = {n.test.id for n in nodes if isinstance(n, ast.If) and isinstance(n.test, ast.Name)}
        prefixes = {m[1] for a in plain if (m := re.fullmatch(r"([a-z]+)_[a-z]+", a))}
        groups += [[a for a in plain if re.fullmatch(rf"{prefix}_[a-z]+", a)] for prefix in sorted(prefixes)]
        groups.append([a for a in plain if a.isupper()])
        groups.append([a.arg for a in arguments if a.annotation is not None and a.arg not in flags])
        groups.append(_assigned_from(nodes, "tl.arange"))
        pointers = [a for a in plain if _is_pointer(a, nodes)]
    elif target.kind == "backward":
        saved = _assigned_from(nodes, "ctx.saved_tensors")
        groups.append([*saved, *(a.arg for a in target.node.args.args[1:])])
    siblings = {n: group[(at + 1) % len(group)] for group in groups for at, n in enumerate(group) if len(group) > 1}
    return Place(target.kind, siblings, tuple(pointers))


def _assigned_from(nodes: list[ast.AST], what: str) -> list[str]:
    """Names that are assigned an expression in which something occurs."""
    return sorted(
        {
            name.id
            for n in nodes
            if isinstance(n, ast.Assign) and what in text(n.value)
            for t in n.targets
            for name in ast.walk(t)
            if isinstance(name, ast.Name)
        }
    )


def _is_pointer(argument: str, nodes: list[ast.AST]) -> bool:
    for n in nodes:
        if isinstance(n, ast.Attribute) and text(n).startswith(f"{argument}.dtype"):
            return True
        if isinstance(n, ast.Call) and text(n.func) in ("tl.load", "tl.store"):
            first = next(m.id for m in ast.walk(n.args[0]) if isinstance(m, ast.Name))
            leftmost = text(n.args[0]).split(" ")[0]
            if argument in (first, leftmost):
                return True
    return False
