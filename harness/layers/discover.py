"""From folders and files to a catalogue: a folder is a layer, a file in it a strategy.

``scan`` only looks (no import, no torch); ``load`` imports. A source is an importable package (``implementations``),
the path of a folder that holds layers or is one, or a file that stands by itself (see reading.py). Folders and files
are loaded by location under names of their own, so ``sys.path`` is never touched and a file called ``triton.py``
shadows nothing.
"""

from __future__ import annotations

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

from harness.layers.reading import SourceError, holds_layer, name_of, read_file, summary
from harness.layers.spec import Layer, Strategy

__all__ = ["Entry", "Loaded", "SourceError", "load", "resolve", "scan"]
_OUTSIDE = "layerbench_from_"


@dataclass(frozen=True)
class Entry:
    """A layer (``strategy`` is None) or a strategy: the file that it is in, which may stand by itself (``alone``)."""

    layer: str
    strategy: str | None
    path: Path
    module: str
    summary: str
    alone: bool = False

    @property
    def is_outside(self) -> bool:
        """Whether it is loaded by its location, and not as a part of a package."""
        return self.module.startswith(_OUTSIDE)


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
        return folder, _outside(folder)
    if not _is_package(source):
        raise SourceError(f"no package, folder or file called {source!r}: give an importable package or a path")
    spec = importlib.util.find_spec(source)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))), source


def _outside(path: Path) -> str:
    """A module name of its own for a path."""
    return f"{_OUTSIDE}{zlib.crc32(str(path).encode()):08x}"


def _is_package(source: str) -> bool:
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):
        return False
    return spec is not None and bool(spec.submodule_search_locations)


def resolve(source: str) -> str:
    """A source as other processes find it: the path of its file, or of its folder, a package of any kind.

    Raises:
        SourceError: it cannot be found.
    """
    return str(Path(source).resolve() if Path(source).is_file() else _folder(source)[0])


def scan(sources: Sequence[str]) -> list[Entry]:
    """All entries of the sources, layers first within a folder, in the order of their names.

    Files and folders that begin with an underscore or a dot are nobody's strategy.

    Raises:
        SourceError: a source that cannot be found or holds no layer, two files for one name, or a file's name that
            cannot be a strategy's.
    """
    entries = [entry for source in sources for entry in _look(source)]
    seen: dict[tuple[str, str | None], Entry] = {}
    for entry in entries:
        other = seen.setdefault((entry.layer, entry.strategy), entry)
        if other is not entry:
            name = entry.layer if entry.strategy is None else f"{entry.layer}/{entry.strategy}"
            raise SourceError(f"two files define {name}: {other.path} and {entry.path}; rename one")
    return entries


def _look(source: str) -> list[Entry]:
    if Path(source).is_file():
        return list(_alone(Path(source).resolve()))
    folder, module = _folder(source)
    if holds_layer(folder / "__init__.py"):
        top = f"{_outside(folder.parent)}." if module.startswith(_OUTSIDE) else module.removesuffix(folder.name)
        return list(_layer(folder, top + name_of(folder)))
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._" and any(p.glob("*.py")))
    found = [entry for layer in folders for entry in _layer(layer, f"{module}.{name_of(layer)}")]
    if not found:
        raise SourceError(
            f"{source!r} holds no layer: expected a folder for each layer in it with a Python file for each strategy,"
            " or an `__init__.py` with `layer = Layer(...)`"
        )
    return found


def _layer(folder: Path, module: str) -> Iterator[Entry]:
    """A folder that is a layer."""
    init = folder / "__init__.py"
    if init.exists():
        yield Entry(folder.name, None, init, module, summary(init))
    for file in sorted(folder.glob("*.py")):
        if file.name[0] not in "._":
            yield Entry(folder.name, name_of(file), file, f"{module}.{file.stem}", summary(file))


def _alone(file: Path) -> Iterator[Entry]:
    """A file that stands by itself."""
    found = read_file(file)
    module = f"{_outside(file)}_{file.stem}"
    if found.whole:
        yield Entry(found.layer, None, file, module, found.summary, alone=True)
    for name in found.strategies:
        yield Entry(found.layer, name, file, module, "" if found.whole else found.summary, alone=True)


def load(entry: Entry) -> Loaded:
    """Import an entry; whatever it raises becomes the error, with the line of the file that raised it."""
    wanted, kind = ("layer", Layer) if entry.strategy is None else ("strategy", Strategy)
    try:
        module = _import(entry)
        value = getattr(module, wanted, None)
        if entry.alone and entry.strategy is not None and value is None:
            wanted, value = f'strategies["{entry.strategy}"]', module.strategies.get(entry.strategy)
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
    if not entry.is_outside:
        return importlib.import_module(entry.module)
    if entry.alone:
        return _execute(entry.module, entry.path, None)
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
