"""Files to start from: a small layer that passes the gate at once, and a strategy that is a copy of the plain way."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence, Set
from importlib.util import resolve_name
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.layers.discover import Entry, scan
from harness.layers.reading import SourceError, keyword_of_layer, name_of
from harness.layers.spec import Layer

LAYER = {"__init__.py": "layer", "autograd.py": "plain", "by_hand.py": "by_hand"}
"""A layer's files and their templates."""


def new_layer(name: str, into: Path, taken: Set[str] = frozenset()) -> list[Path]:
    """Write a layer's folder.

    Args:
        taken: names of layers that there are.

    Returns:
        The files.

    Raises:
        SourceError: the name is no Python name, or there is something of that name already.
    """
    if name in taken:
        raise SourceError(f"there is a layer {name!r} already: choose another name")
    if name != Path(name).name:
        raise SourceError(f"{name!r} is no name of a layer: give a Python name, and the folder with --into")
    folder = into / name_of(Path(name))
    return _write({folder / file: _rendered(template, {"name": name}) for file, template in LAYER.items()}, folder)


def new_strategy(layer: str, name: str, into: Path | None, sources: Sequence[str], ours: str) -> tuple[Path, bool]:
    """Write a strategy as a copy of a layer's reference.

    Args:
        into: a folder, in which the file stands by itself; None puts it into the layer's own folder, or for a layer of
            ours into the current one, where it stands by itself.
        sources: where layers are found.
        ours: the source of our own layers.

    Returns:
        The file, and whether it stands by itself.

    Raises:
        SourceError: no such layer, one that lives in a single file, or a file of that name is there already.
    """
    name_of(Path(name))
    entries = {e.strategy: e for e in scan(sources) if e.layer == layer}
    own = entries.get(None)
    if own is None:
        known = sorted({e.layer for e in scan(sources)})
        raise SourceError(f"unknown layer {layer!r}: choose from {', '.join(known)}, or name its folder with --from")
    if own.alone:
        raise SourceError(f"{layer} lives in one file: add a name to `strategies` in {own.path}")
    if name in entries:
        raise SourceError(f"{layer} has a strategy {name!r} already: {entries[name].path}")
    reference = keyword_of_layer(own.path, "reference") or Layer.reference
    if reference not in entries:
        raise SourceError(f"{layer} has no strategy {reference!r}, which it names as its reference")
    outside = not own.module.startswith(f"{ours}.")
    alone = into is not None or not outside
    folder = own.path.parent if not alone else into or Path()
    facts = {"name": name, "layer": layer, "reference": reference, "alone": alone, **_parts(entries[reference], alone)}
    (file,) = _write({folder / f"{name}.py": _rendered("strategy", facts)}, folder / f"{name}.py")
    return file, alone


def _parts(entry: Entry, alone: bool) -> dict[str, str]:
    """The imports, the code and the forward of a strategy's file, as text."""
    source = entry.path.read_text(encoding="utf-8")
    imports: list[str] = []
    body: list[str] = []
    faces: set[str] = set()
    forward = ""
    for node in ast.parse(source).body:
        text = ast.get_source_segment(source, node) or ""
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            faces |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            imports.append(_absolute(entry, node, text) if alone else text)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(text)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _is_strategy(node):
            given = [*node.value.args, *(k.value for k in node.value.keywords if k.arg == "forward")]
            forward = ast.get_source_segment(source, given[0]) or ""
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            body.append("\n".join([*(f"@{ast.unparse(d)}" for d in getattr(node, "decorator_list", ())), text]))
    code = "\n\n\n".join(body)
    used = {"Strategy", *(face for face in faces if face in code)}
    imports += ["", f"from harness import {', '.join(sorted(used))}"]
    return {"imports": "\n".join(imports).lstrip("\n"), "body": code, "forward": forward}


def _is_strategy(node: ast.Assign) -> bool:
    return any(isinstance(t, ast.Name) and t.id == "strategy" for t in node.targets)


def _absolute(entry: Entry, node: ast.ImportFrom, text: str) -> str:
    if entry.is_outside:
        raise SourceError(f"{entry.path.name} imports from its own folder ({text}): leave out --into, to stay there")
    module = resolve_name("." * node.level + (node.module or ""), entry.module.rpartition(".")[0])
    return f"from {module} import {', '.join(map(ast.unparse, node.names))}"


def _rendered(template: str, facts: Mapping[str, object]) -> str:
    environment = Environment(
        loader=PackageLoader("harness.layers"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template(f"{template}.py.jinja").render(**facts)


def _write(files: Mapping[Path, str], whole: Path) -> list[Path]:
    """Write files where nothing is yet."""
    if whole.exists():
        raise SourceError(f"{whole} is there already, and is not written over: choose another name or --into")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SourceError(f"cannot write {whole}: {error.strerror}") from None
    return list(files)
