"""A bundle from a stranger is data: a folder or a ``.tar.gz`` is read within bounds, and nothing in it is ever run.

The archive reader knows plain files and folders of the ustar format and nothing else. Links, devices, extended
headers and sparse files have no place in a bundle, so they are refused and not interpreted.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from harness.records.store import StoreError
from harness.report.escaping import terminal

MOST_FILES = 10_000
MOST_BYTES = 2**30
DEEPEST = 8
LONGEST_NAME = 200
MOST_JSON_BYTES = 64 * 2**20
BLOCK = 512
REPRODUCTIONS = "reproductions"


class BundleError(StoreError):
    """Something that is no bundle, or one that is not safe to read; one clear line."""


@dataclass(frozen=True)
class Limits:
    """How much is read before a bundle is refused."""

    files: int = MOST_FILES
    bytes: int = MOST_BYTES


@contextmanager
def opened(bundle: Path, limits: Limits | None = None) -> Iterator[Path]:
    """The folder of a bundle: itself, or a temporary one that an archive was unpacked to.

    Raises:
        BundleError: see the module.
    """
    limits = limits or Limits()
    if bundle.is_dir():
        files_of(bundle, limits)
        yield bundle
        return
    if not bundle.is_file():
        raise BundleError(f"{terminal(bundle)} is neither a folder nor a .tar.gz file")
    with tempfile.TemporaryDirectory(prefix="layerbench-") as scratch:
        root = Path(scratch) / "bundle"
        root.mkdir()
        unpack(bundle, root, limits)
        inside = list(root.iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else root


def files_of(folder: Path, limits: Limits | None = None) -> list[str]:
    """Names of all files below a folder but the reproductions, sorted, with ``/`` between their parts.

    Raises:
        BundleError: a link, a device, an odd name, too many files or bytes, too deep.
    """
    limits = limits or Limits()
    names: list[str] = []
    waiting, size = [(folder, "")], 0
    while waiting:
        here, prefix = waiting.pop()
        try:
            entries = list(_scanned(here, limits.files))
        except OSError as error:
            raise BundleError(f"cannot read {terminal(here)}: {error.strerror}") from None
        for entry in entries:
            name = prefix + entry.name
            if name == REPRODUCTIONS:
                continue
            safe_name(name)
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                waiting.append((here / entry.name, f"{name}/"))
            elif stat.S_ISREG(facts.st_mode):
                names.append(name)
                size += facts.st_size
            else:
                what = "a link" if stat.S_ISLNK(facts.st_mode) else "not a plain file"
                raise BundleError(f"refused: {terminal(name)} is {what}")
            if len(names) + len(waiting) > limits.files or size > limits.bytes:
                raise _too_much(limits)
    return sorted(names)


def _scanned(folder: Path, most: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number > most:
                raise BundleError(f"refused: more than {most} files")
            yield entry


def safe_name(name: str) -> tuple[str, ...]:
    """The parts of a file's name in a bundle.

    Raises:
        BundleError: it could leave the bundle, or is not what a bundle's files are called.
    """
    shown = terminal(name[:LONGEST_NAME])
    if name.startswith("/") or "\\" in name or ":" in name:
        raise BundleError(f"refused: {shown} is not a path within the bundle")
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"refused: {shown} is not a path within the bundle")
    if len(parts) > DEEPEST:
        raise BundleError(f"refused: {shown} is more than {DEEPEST} folders deep")
    if len(name) > LONGEST_NAME or terminal(name) != name or not name.isprintable():
        raise BundleError(f"refused: {shown} is not a name for a file of a bundle")
    return parts


def unpack(archive: Path, root: Path, limits: Limits) -> None:
    """Unpack a ``.tar.gz`` into an empty folder.

    Raises:
        BundleError: see the module.
    """
    try:
        with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            _unpack(cast("IO[bytes]", stream), root, limits)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BundleError(f"{terminal(archive)} is not a whole .tar.gz file") from None
    except OSError as error:
        raise BundleError(f"cannot unpack {terminal(archive)}: {error.strerror or 'not a .tar.gz file'}") from None


def _unpack(stream: IO[bytes], root: Path, limits: Limits) -> None:
    files, left = 0, limits.bytes
    while True:
        header = _exactly(stream, BLOCK)
        if not any(header):
            break
        name, kind, size = _header(header)
        files += 1
        if files > limits.files or size > left:
            raise _too_much(limits)
        left -= size + BLOCK
        parts = safe_name(name.rstrip("/") if kind == "folder" else name)
        if kind == "folder":
            root.joinpath(*parts).mkdir(parents=True, exist_ok=True)
            continue
        path = root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            _copy(stream, file, size)
        _exactly(stream, -size % BLOCK)
    rest = stream.read(2**20)  # zeros; reading to the end also verifies gzip's own checksum
    if any(rest) or stream.read(1):
        raise BundleError("refused: something follows the end of the archive")


def _header(block: bytes) -> tuple[str, str, int]:
    """Name, ``file`` or ``folder``, and size of the next entry."""
    summed = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if block[257:262] != b"ustar" or _octal(block[148:156]) != summed:
        raise BundleError("refused: the archive is damaged, or is no tar archive")
    try:
        prefix = _text(block[345:500]) if block[262:263] == b"\0" else ""
        name = "/".join(filter(None, (prefix, _text(block[:100]))))
    except UnicodeDecodeError:
        raise BundleError("refused: a file's name is not UTF-8") from None
    kind = {b"0": "file", b"\0": "file", b"5": "folder"}.get(block[156:157])
    if kind is None:
        what = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
        raise BundleError(f"refused: {terminal(name)} is {what.get(block[156:157], 'not a plain file')}")
    size = _octal(block[124:136])
    if size < 0 or (kind == "folder" and size):
        raise BundleError("refused: the archive is damaged, or is no tar archive")
    return name, kind, size


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8")


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(48 <= d < 56 for d in digits) else -1


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) != size:
        raise EOFError
    return found


def _copy(stream: IO[bytes], file: IO[bytes], size: int) -> None:
    while size:
        piece = _exactly(stream, min(size, 2**20))
        file.write(piece)
        size -= len(piece)


def _too_much(limits: Limits) -> BundleError:
    return BundleError(f"refused: more than {limits.files} files or {limits.bytes / 2**20:.0f} MiB")


def read_json(path: Path) -> Any:
    """A JSON file of a bundle.

    Raises:
        BundleError: missing, too large, or not JSON.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise BundleError(f"refused: {path.name} is larger than {MOST_JSON_BYTES // 2**20} MiB")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{terminal(path.parent.name)} holds no {path.name}: is it a bundle? (see seal)") from None
    except OSError as error:
        raise BundleError(f"cannot read {path.name}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path.name} is not JSON") from None
