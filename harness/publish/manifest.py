"""What is in a bundle, and the digest of each file: integrity, not honesty."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.publish.opening import BundleError, files_of, read_json
from harness.records.store import FILE as RECORDS
from harness.records.store import PACKED
from harness.report.escaping import terminal

SCHEMA = 1
FILE, SUMS = "manifest.json", "SHA256SUMS"
EVIDENCE = (PACKED, RECORDS)
"""The first is what is sealed today, the other what was."""
STATEMENTS = (
    "README.md", "CITATION.cff", "environment.json", "source.json", "packages.txt", "claims.json", "plan.json",
)  # fmt: skip
PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "pillow", "tabulate", "jinja2", "pytest-benchmark", "layerbench")
"""What the bytes of tables, plots and page depend on."""
PICTURES = (".svg", ".png", ".pdf", ".html")


@dataclass(frozen=True)
class Entry:
    """A file: its role is ``evidence``, ``table``, ``picture``, ``statement`` or ``other``."""

    path: str
    sha256: str
    bytes: int
    role: str


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says."""

    schema: int
    bundle: str
    packages: dict[str, str | None]
    files: tuple[Entry, ...]


def role(name: str, derived: frozenset[str]) -> str:
    """What a file is for; ``derived`` are those that the report has written."""
    if name in EVIDENCE:
        return "evidence"
    if name in derived:
        return "picture" if name.endswith(PICTURES) else "table"
    return "statement" if name in STATEMENTS else "other"


def has_pdf(names: Iterable[str]) -> bool:
    """Whether plots are there as PDF too (``report --pdf``): then they are derived files like the others."""
    return any(name.startswith("plots/") and name.endswith(".pdf") for name in names)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packages() -> dict[str, str | None]:
    """Versions at hand of what the report's bytes depend on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def describe(folder: Path, derived: frozenset[str]) -> Manifest:
    """The manifest of a folder as it is."""
    files = tuple(
        Entry(name, digest(folder / name), (folder / name).stat().st_size, role(name, derived))
        for name in files_of(folder)
        if name not in (FILE, SUMS)
    )
    return Manifest(SCHEMA, bundle_id(files), packages(), files)


def bundle_id(files: tuple[Entry, ...]) -> str:
    """Of names and digests of all files."""
    text = "\n".join(f"{f.sha256}  {f.path}" for f in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` and ``SHA256SUMS``."""
    answer = {**vars(manifest), "files": [vars(f) for f in manifest.files]}
    (folder / FILE).write_text(as_json(answer), encoding="utf-8")
    (folder / SUMS).write_text(sums(manifest, digest(folder / FILE)), encoding="utf-8")


def sums(manifest: Manifest, own: str) -> str:
    """As ``sha256sum -c`` reads it; ``own`` is the manifest's digest."""
    digests = {**{f.path: f.sha256 for f in manifest.files}, FILE: own}
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def as_json(value: Any) -> str:
    """The form of all JSON files of a bundle."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        BundleError: it is missing, or is none.
    """
    found = read_json(folder / FILE)
    try:
        files = tuple(Entry(str(f["path"]), str(f["sha256"]), int(f["bytes"]), str(f["role"])) for f in found["files"])
        schema, bundle = int(found["schema"]), str(found["bundle"])
        versions = {str(k): None if v is None else str(v) for k, v in found["packages"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"{FILE} is not a manifest: {type(error).__name__} {terminal(error)}") from None
    if schema > SCHEMA:
        raise BundleError(f"{FILE} has schema {schema}, newer than this program's {SCHEMA}: update layerbench")
    return Manifest(schema, bundle, versions, files)


def verify(folder: Path) -> tuple[Manifest, list[str]]:
    """The manifest, and one line for each file that is not as it was sealed.

    Raises:
        BundleError: there is no readable manifest, or the folder is not safe to read.
    """
    manifest = read(folder)
    there = set(files_of(folder)) - {FILE, SUMS}
    wrong = []
    for entry in manifest.files:
        name = terminal(entry.path)
        if entry.path not in there:
            wrong.append(f"{name}: missing")
            continue
        size = (folder / entry.path).stat().st_size
        if size != entry.bytes:
            wrong.append(f"{name}: {size} bytes, sealed with {entry.bytes}")
        elif digest(folder / entry.path) != entry.sha256:
            wrong.append(f"{name}: its bytes are not those that were sealed")
    wrong += [f"{terminal(name)}: not in {FILE}" for name in sorted(there - {f.path for f in manifest.files})]
    if manifest.bundle != bundle_id(manifest.files):
        wrong.append(f"{FILE}: the bundle's id is not that of its files")
    wrong += _sums_wrong(folder, manifest)
    return manifest, wrong


def _sums_wrong(folder: Path, manifest: Manifest) -> list[str]:
    try:
        found = (folder / SUMS).read_bytes()
    except OSError:
        return [f"{SUMS}: missing"]
    due = sums(manifest, digest(folder / FILE)).encode()
    if found == due:
        return []
    lines = set(found.split(b"\n")) ^ set(due.split(b"\n"))
    odd = sorted({line.decode("utf-8", "replace").partition("  ")[2] for line in lines} - {""})
    return [f"{SUMS} and the files do not agree: {', '.join(map(terminal, odd[:5])) or 'line ends'}"]
