"""The reference pages of ``docs/reference``, made from ``--help`` and docstrings: ``python -m tests.reference``."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import typer
from typer.testing import CliRunner

import harness
import harness.notebook
from harness.cli import app
from harness.testing.layerbench import Layerbench
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "reference"
NOTE = "Made from {} by `make docs`; a test compares."
SECTION = re.compile(r"(Args|Attributes|Raises|Returns):")
ENTRY = re.compile(r"([\w, ]+): (.*)", re.DOTALL)


def pages() -> dict[str, str]:
    """Text of each page by its file's name."""
    return {"commands.md": commands(), "api.md": api()}


def commands() -> str:
    """What ``--help`` of each command says, at 80 columns."""
    exit_codes = str(importlib.import_module("harness.cli.app").__doc__).partition("\n\n")[2].strip()
    parts = ["# Commands", NOTE.format("every command's `--help`"), exit_codes]
    for words in _commands(typer.main.get_command(app), ()):
        said = CliRunner().invoke(app, [*words, "--help"], prog_name="layerbench", env={"COLUMNS": "80"})
        lines = (line.rstrip() for line in said.output.strip().splitlines())
        parts += [f"## `{' '.join(('layerbench', *words))}`", "```text\n{}\n```".format("\n".join(lines))]
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


def api() -> str:
    """Signature and docstring of all that is meant to be imported."""
    parts = ["# Python", NOTE.format("docstrings")]
    for face in (harness, harness.notebook):
        parts += [f"## `{face.__name__}`", prose(inspect.getdoc(face) or "")]
        for name in sorted(face.__all__, key=str.lower):
            parts += _described(name, getattr(face, name), _text_below(face, name))
    parts += ["## The pytest fixture `layerbench`", prose(inspect.getdoc(Layerbench) or "")]
    return "\n\n".join([*parts, *_members("layerbench", Layerbench)]) + "\n"


def _described(name: str, thing: Any, below: str) -> Iterator[str]:
    yield f"### `{name}`"
    if not inspect.isroutine(thing) and not inspect.isclass(thing):
        yield f"```python\n{name} = {thing!r}\n```"
        yield prose(below)
        return
    if not (inspect.isclass(thing) and issubclass(thing, Exception)):
        yield f"```python\n{signature(name, thing)}\n```"
    yield prose(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        yield from _members(name, thing)


def _members(owner: str, cls: type) -> Iterator[str]:
    """Public methods and properties, those of bases of ours first."""
    ours = [base for base in reversed(cls.__mro__) if base.__module__.startswith("harness.")]
    for name, member in {name: member for base in ours for name, member in vars(base).items()}.items():
        if name.startswith("_") or name in inspect.get_annotations(cls):  # a field's default may be a function
            continue
        if isinstance(member, property | functools.cached_property):
            yield f"#### `{owner}.{name}`"
            yield prose(inspect.getdoc(member) or "")
        elif isinstance(member, staticmethod) or inspect.isfunction(member):
            yield f"#### `{owner}.{name}()`"
            yield f"```python\n{signature(f'{owner}.{name}', getattr(cls, name))}\n```"
            yield prose(inspect.getdoc(member) or "")


def signature(name: str, thing: Any) -> str:
    """A call with names, types and defaults; one argument a line where it is long."""
    found = inspect.signature(thing)
    words, starred = [], False
    for p in found.parameters.values():
        if p.name == "self":
            continue
        if p.kind is p.KEYWORD_ONLY and not starred:
            words, starred = [*words, "*"], True
        default = "" if p.default is p.empty else f" = {getattr(p.default, '__name__', None) or repr(p.default)}"
        words.append(("**" if p.kind is p.VAR_KEYWORD else "") + f"{p.name}: {p.annotation}{default}")
    gives = found.return_annotation
    end = ")" if inspect.isclass(thing) or gives is found.empty else f") -> {gives}"
    line = f"{name}({', '.join(words)}{end}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + end


def prose(doc: str) -> str:
    """A docstring as Markdown: its sections become lists."""
    parts = []
    for paragraph in doc.replace("``", "`").split("\n\n"):
        head, _, rest = paragraph.partition("\n")
        if not SECTION.fullmatch(head):
            parts.append(paragraph)
            continue
        entries = re.split(r"\n(?! )", textwrap.dedent(rest))
        parts.append("\n".join([head, "", *map(_entry, entries)]))
    return "\n\n".join(parts)


def _entry(text: str) -> str:
    line = re.sub(r"\s+", " ", text.strip())
    found = ENTRY.fullmatch(line)
    return f"* `{found[1]}`: {found[2]}" if found else f"* {line}"


def _text_below(face: ModuleType, name: str) -> str:
    """The string that stands below an assignment, in the module from which a face takes the name."""
    imports = (n for n in ast.parse(inspect.getsource(face)).body if isinstance(n, ast.ImportFrom))
    (origin,) = (n.module for n in imports if name in {alias.name for alias in n.names})
    body = ast.parse(inspect.getsource(importlib.import_module(str(origin)))).body
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            return inspect.cleandoc(str(ast.literal_eval(ast.unparse(after))))
    return ""


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, text in pages().items():
        (FOLDER / page).write_text(text, encoding="utf-8")
