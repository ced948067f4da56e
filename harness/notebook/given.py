"""What a user gives by name: one name or several, and a clear word where it is the thing itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.run.wanted import UsageError

Names = str | Iterable[str]
Sources = str | Path | Iterable[str | Path]


def names(what: str, given: Names, layer: str = "") -> tuple[str, ...]:
    """One name or several as a tuple; ``""`` is none.

    Args:
        what: the argument, such as ``strategy``.
        layer: whose strategy it would be, for the advice.

    Raises:
        UsageError: a function, a class or anything else that is no name.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str) and not callable(given)
    found: list[Any] = list(given) if several else [given]
    for each in found:
        if not isinstance(each, str):
            raise UsageError(_not_by_name(what, each, layer))
    return tuple(name for name in found if name)


def _not_by_name(what: str, given: object, layer: str) -> str:
    if what not in ("layer", "strategy"):
        return f"{what}={given!r}: give a name or several"
    own = getattr(given, "__name__", "")
    if what == "layer":
        name, file, last = "my_layer", "mine/my_layer/__init__.py", "layer = Layer(...)"
    else:
        name = own if own.isidentifier() else "mine"
        file, last = f"mine/{layer or 'LAYER'}/{name}.py", "strategy = Strategy(forward)"
    return (
        f"{what}={own or f'<{type(given).__name__}>'} is in this process only, and a {what} runs in processes of its "
        f"own, which find it by its file: write it to one (in a notebook `%%writefile {file}`, with `{last}` as its "
        f"last line) and pass from_=['mine'], {what}={name!r}"
    )


def folders(given: Sources) -> tuple[str, ...]:
    """Packages and folders to look in beside our own.

    Raises:
        UsageError: something that is neither a name nor a path.
    """
    found = [given] if isinstance(given, str | Path) or not isinstance(given, Iterable) else list(given)
    for each in found:
        if isinstance(each, ModuleType) or not isinstance(each, str | Path):
            raise UsageError(f"from_={each!r}: give the name of a package or the path of a folder")
    return tuple(str(each) for each in found if str(each))
