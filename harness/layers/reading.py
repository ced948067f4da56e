"""What a file holds, read from its syntax tree: nothing is imported, so nothing of it runs.

Two forms of a file stand by themselves (``--from path/to/file.py``):

* a whole layer: ``layer = Layer(...)`` and ``strategies = {"name": Strategy(...), ...}``; its name is the file's;
* a strategy for a layer that is elsewhere: ``layer = "affine"`` and ``strategy = Strategy(...)``; likewise.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class SourceError(ValueError):
    """A source that cannot be found, or that holds no layer and no strategy; one clear line."""


@dataclass(frozen=True)
class Contents:
    """What a file that stands by itself holds.

    Attributes:
        layer: the layer's name.
        strategies: names of the strategies.
        whole: whether the layer itself is in it.
        summary: first line of its docstring.
    """

    layer: str
    strategies: tuple[str, ...]
    whole: bool
    summary: str


def summary(path: Path) -> str:
    """First line of a file's docstring, without running it; empty where it has none or does not parse."""
    try:
        return _summary(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError, OSError):
        return ""


def holds_layer(path: Path) -> bool:
    """Whether a file assigns ``layer``, or does not parse: then importing it says why."""
    try:
        return "layer" in _assigned(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError):
        return True
    except OSError:
        return False


def keyword_of_layer(path: Path, keyword: str) -> str:
    """A string that a file hands to its ``layer = Layer(...)`` by keyword; empty where it hands none."""
    call = _assigned(ast.parse(path.read_text(encoding="utf-8"))).get("layer")
    given = {k.arg: k.value for k in call.keywords} if isinstance(call, ast.Call) else {}
    value = given.get(keyword)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def name_of(path: Path) -> str:
    """The name that a file or folder gives to what it holds.

    Raises:
        SourceError: it is no Python name of at most 64 letters, digits and underscores.
    """
    name = path.stem if path.suffix == ".py" else path.name
    if not NAME.fullmatch(name):
        better = re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)[:64]
        raise SourceError(f"{path}: {name!r} cannot name a layer or strategy: rename it {better}{path.suffix}")
    return name


def read_file(path: Path) -> Contents:
    """What a file that stands by itself holds.

    Raises:
        SourceError: it is no Python file, does not parse, or is in neither of the two forms.
    """
    if path.suffix != ".py":
        raise SourceError(f"{path} is no Python file: give one that ends in .py, a folder or a package")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise SourceError(f"{path.name}:{error.lineno}: SyntaxError: {error.msg}") from None
    except (ValueError, OSError) as error:
        raise SourceError(f"{path.name} cannot be read as Python: {error}") from None
    name, given = name_of(path), _assigned(tree)
    layer = given.get("layer")
    if isinstance(layer, ast.Constant) and isinstance(layer.value, str):
        if "strategy" not in given:
            raise SourceError(
                f"{path.name} names the layer {layer.value!r} and has no strategy: add `strategy = Strategy(...)`"
            )
        return Contents(layer.value, (name,), False, _summary(tree))
    if layer is None:
        found = "a strategy and no layer" if "strategy" in given else "neither a layer nor a strategy"
        raise SourceError(
            f'{path.name} has {found}: write `layer = "name"` beside `strategy = Strategy(...)`, or'
            ' `layer = Layer(...)` beside `strategies = {"name": Strategy(...)}`'
        )
    return Contents(name, _keys(path, given.get("strategies")), True, _summary(tree))


def _keys(path: Path, node: ast.expr | None) -> tuple[str, ...]:
    if not isinstance(node, ast.Dict) or not node.keys:
        raise SourceError(
            f'{path.name} has a layer and no strategies: write `strategies = {{"autograd": Strategy(...)}}`, a dict'
            " whose names can be read without running it"
        )
    names = []
    for key in node.keys:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str) or not NAME.fullmatch(key.value):
            line = (key or node).lineno
            raise SourceError(f"{path.name}:{line}: the keys of strategies must be Python names written out as strings")
        names.append(key.value)
    return tuple(names)


def _summary(tree: ast.Module) -> str:
    doc = ast.get_docstring(tree)
    return doc.splitlines()[0] if doc else ""


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """What the top level of a file assigns, by name."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found
