"""From folders to a catalogue: a folder is a layer, a file in it a strategy.

``scan`` only looks (no import, no torch); ``load`` imports. A source is an importable package (``implementations``)
or the path of a folder; a folder is loaded by file location under a name of its own, so ``sys.path`` is never
touched and a file called ``triton.py`` shadows nothing.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.layers.spec import Layer, Strategy

_OUTSIDE = "layerbench_from_"


class SourceError(ValueError):
    """A source that is neither an importable package nor a folder, or that holds no layers; one clear line."""


@dataclass(frozen=True)
class Entry:
    """A file of a layer's folder: the layer's own (``strategy`` is None) or a strategy's."""

    layer: str
    strategy: str | None
    path: Path
    module: str
    summary: str


@dataclass(frozen=True)
class Loaded:
    """What importing an entry gave: the object, or the error in one line, and the package that is missing if so."""

    entry: Entry
    value: Any
    error: str | None
    missing: str | None = None


def _folder(source: str) -> tuple[Path, str]:
    """The folder of a source and the module name that its layers hang under."""
    if Path(source).is_dir() and ("/" in source or not _is_package(source)):
        folder = Path(source).resolve()
        return folder, f"{_OUTSIDE}{zlib.crc32(str(folder).encode()):08x}"
    if not _is_package(source):
        raise SourceError(f"no package and no folder called {source!r}: give an importable package or a path")
    spec = importlib.util.find_spec(source)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))), source


def _is_package(source: str) -> bool:
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        return False
    return spec is not None and bool(spec.submodule_search_locations)


def _summary(path: Path) -> str:
    """First line of a file's docstring, without running it; empty where it has none or does not parse."""
    try:
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError, OSError):
        return ""
    return doc.splitlines()[0] if doc else ""


def resolve(source: str) -> str:
    """A source as other processes find it: a package of any kind becomes the path of its folder.

    Raises:
        SourceError: it cannot be found.
    """
    return str(_folder(source)[0])


def scan(sources: Sequence[str]) -> list[Entry]:
    """All entries of the sources, layers first within a folder, in the order of their names.

    Files and folders that begin with an underscore or a dot are nobody's strategy.

    Raises:
        SourceError: a source that cannot be found or holds no layer folder, or two files for one name.
    """
    entries: list[Entry] = []
    for source in sources:
        folder, module = _folder(source)
        found = list(_entries(folder, module))
        if not found:
            raise SourceError(f"{source!r} holds no layer: expected folders with one Python file for each strategy")
        entries += found
    seen: dict[tuple[str, str | None], Entry] = {}
    for entry in entries:
        other = seen.setdefault((entry.layer, entry.strategy), entry)
        if other is not entry:
            name = entry.layer if entry.strategy is None else f"{entry.layer}/{entry.strategy}"
            raise SourceError(f"two files define {name}: {other.path} and {entry.path}; rename one")
    return entries


def _entries(folder: Path, module: str) -> Iterator[Entry]:
    for layer in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._"):
        if not layer.name.isidentifier():
            continue
        init = layer / "__init__.py"
        if init.exists():
            yield Entry(layer.name, None, init, f"{module}.{layer.name}", _summary(init))
        for file in sorted(layer.glob("*.py")):
            if file.name[0] not in "._" and not file.name.startswith("__"):
                yield Entry(layer.name, file.stem, file, f"{module}.{layer.name}.{file.stem}", _summary(file))


def load(entry: Entry) -> Loaded:
    """Import an entry; whatever it raises becomes the error, with the line of the file that raised it."""
    wanted, kind = ("layer", Layer) if entry.strategy is None else ("strategy", Strategy)
    try:
        module = _import(entry)
        value = getattr(module, wanted, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's file may raise anything, SystemExit included
        text = f"{entry.path.name}{_line(error, entry.path)}: {type(error).__name__}: {error}"
        own = entry.module.split(".")[0]
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        return Loaded(entry, None, text, None if missing and missing.split(".")[0] == own else missing)
    if not isinstance(value, kind):
        return Loaded(entry, None, f"{entry.path.name}: must define `{wanted} = {kind.__name__}(...)`")
    return Loaded(entry, value, None)


def _line(error: BaseException, path: Path) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        lines.append(error.lineno)
    return f":{lines[-1]}" if lines else ""


def _import(entry: Entry) -> ModuleType:
    if not entry.module.startswith(_OUTSIDE):
        return importlib.import_module(entry.module)
    folder = entry.path.parent
    top, layer = entry.module.split(".")[:2]
    _package(top, folder.parent)
    init = folder / "__init__.py"
    name = f"{top}.{layer}"
    package = _execute(name, init, folder) if init.exists() else _package(name, folder)
    return package if entry.strategy is None else _execute(entry.module, entry.path, None)


def _package(name: str, folder: Path) -> ModuleType:
    """A package without an ``__init__.py``, so that files in the folder can import each other relatively."""
    if name not in sys.modules:
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(spec)
    return sys.modules[name]


def _execute(name: str, path: Path, folder: Path | None) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=None if folder is None else [str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
