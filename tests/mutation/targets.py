"""What is mutated: the functions of a strategy's file that make its gradients, found by reading it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["backward", "saved", "kernel", "launch", "fake"]
IMPLEMENTATIONS = Path(__file__).resolve().parents[2] / "implementations"


@dataclass(frozen=True)
class Target:
    """A function to mutate.

    Attributes:
        kind: ``backward``; ``saved``, which keeps tensors for it; ``kernel``; ``launch``, which runs kernels; ``fake``,
            which says the shapes of a launch without running it.
    """

    kind: Kind
    name: str
    node: ast.FunctionDef


def files(layer: str | None = None, strategy: str | None = None) -> list[Path]:
    """The strategies with a backward written by hand."""
    return [
        path
        for path in sorted(IMPLEMENTATIONS.glob(f"{layer or '*'}/{strategy or '*'}.py"))
        if not path.name.startswith("_") and any(_functions_of_autograd(ast.parse(path.read_text())))
    ]


def modules(path: Path) -> list[Path]:
    """The private modules of its layer that a strategy takes kernels from."""
    tree = ast.parse(path.read_text())
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module]
    found = [path.with_name(f"{name}.py") for name in names]
    return [file for file in found if targets(ast.parse(file.read_text()))]


def targets(tree: ast.Module) -> list[Target]:
    """The functions of a file to mutate, in the order of the file."""
    classes = {c.name: c for c in _functions_of_autograd(tree)}
    plain = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    found: dict[int, Target] = {}

    def add(node: ast.FunctionDef, kind: Kind, name: str) -> None:
        found.setdefault(node.lineno, Target(kind, name, node))

    for c in classes.values():
        for method in _methods(c):
            if method.name == "backward":
                add(method, "backward", f"{c.name}.backward")
            elif method.name == "setup_context" or [a.arg for a in method.args.args[:1]] == ["ctx"]:
                add(method, "saved", f"{c.name}.{method.name}")
    for f in plain.values():
        if _is_kernel(f):
            add(f, "kernel", f.name)
    for name in _reachable(tree, classes, plain):
        if name in plain:
            add(plain[name], "kernel" if _is_kernel(plain[name]) else "launch", name)
        else:
            (forward,) = [m for m in _methods(classes[name]) if m.name == "forward"]
            add(forward, "launch", f"{name}.forward")
    for name in plain:
        for f in _registered(name, tree):
            how = next(ast.unparse(d) for d in f.decorator_list if ast.unparse(d).startswith(f"{name}."))
            add(f, "fake" if "fake" in how else "launch", how)
    return [found[line] for line in sorted(found)]


def _functions_of_autograd(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(m.name == "backward" for m in _methods(node)):
            yield node


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [m for m in node.body if isinstance(m, ast.FunctionDef)]


def _is_kernel(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(d).split("(")[0] in ("triton.jit", "jit") for d in node.decorator_list)


def _reachable(tree: ast.Module, classes: dict[str, ast.ClassDef], plain: dict[str, ast.FunctionDef]) -> set[str]:
    """The functions, and the Functions of autograd, that a backward uses, by name; what they use in turn."""
    waiting: list[ast.AST] = [m for c in classes.values() for m in _methods(c) if m.name == "backward"]
    found: set[str] = set()
    while waiting:
        for node in ast.walk(waiting.pop()):
            if not isinstance(node, ast.Name) or node.id in found:
                continue
            if node.id in plain:
                found.add(node.id)
                waiting.append(plain[node.id])
                waiting += _registered(node.id, tree)
            elif node.id in classes:
                found.add(node.id)
                waiting += [m for m in _methods(classes[node.id]) if m.name != "backward"]
    return found


def _registered(name: str, tree: ast.Module) -> list[ast.FunctionDef]:
    """What is registered with a custom op: its fake, its rule for vmap."""
    functions = [f for f in tree.body if isinstance(f, ast.FunctionDef)]
    return [f for f in functions if any(ast.unparse(d).startswith(f"{name}.") for d in f.decorator_list)]
