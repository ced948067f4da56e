"""The records of a run: ``records.jsonl``, append-only, one record a line, written as each cell ends.

A cell is a unit of work that is done or not done. Its records carry its name and an attempt number, and count once
a ``cell`` record of the same attempt has closed it; so a crash in the middle of a cell leaves nothing half-counted,
and the cell is simply run again. Records outside any cell count at once.

A sealed run takes no more records: it holds ``records.jsonl.gz``, the same bytes in a tenth of the space.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.records.older import upgraded
from harness.records.schema import SCHEMA, as_record

Record = dict[str, Any]

FILE = "records.jsonl"
PACKED = f"{FILE}.gz"
MOST_BYTES = 128 * 2**20
"""Of records that somebody else may have packed."""
CLAIMS = "claims.toml"


class StoreError(ValueError):
    """A folder that holds no readable records, or cannot take any; one clear line."""


@dataclass(frozen=True)
class Run:
    """What a records file holds.

    Attributes:
        records: those that count, by kind, in order.
        warnings: one line for each thing left out.
        done: names of the closed cells.
        attempts: number of the last attempt.
    """

    path: Path
    records: dict[str, list[Record]]
    warnings: list[str] = field(default_factory=list)
    done: frozenset[str] = frozenset()
    attempts: int = 0

    @property
    def schema(self) -> int:
        """That which it was written in, whatever its records are read as."""
        return int(self.of("run")[0].get("schema", 0))

    def of(self, kind: str) -> list[Record]:
        """The records of a kind; none is an empty list."""
        return self.records.get(kind, [])


def read(folder: Path) -> Run:
    """Read a run's records.

    A line that is cut off or damaged is left out and named in ``warnings``; records of cells that were never closed
    are left out silently, for they were never results.

    Raises:
        StoreError: no records file, an unreadable one, one of a newer schema, or one without a ``run`` record.
    """
    path = folder / (PACKED if (folder / PACKED).exists() else FILE)
    if path.name == PACKED and (folder / FILE).exists():
        raise StoreError(f"{folder} holds {FILE} and {PACKED}: keep one of them")
    try:
        lines = (unpacked(path) if path.name == PACKED else path.read_bytes()).split(b"\n")
    except FileNotFoundError:
        raise StoreError(f"{folder} holds no {FILE}: give the folder of a run") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None

    records, warnings = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or "kind" not in record:
                raise ValueError
        except ValueError:
            what = "is cut off" if number == len(lines) else "is damaged"
            warnings.append(f"{FILE} line {number} {what} and was left out; the other records are kept")
            continue
        records.append(record)

    run = next((r for r in records if r["kind"] == "run"), None)
    if run is None:
        raise StoreError(f"{path} holds no run record: it is not a records file of this program, or its start is lost")
    if run.get("schema", 0) > SCHEMA:
        raise StoreError(f"{path} has schema {run['schema']}, newer than this program's {SCHEMA}: update layerbench")

    closed = {(r.get("cell"), r.get("attempt")) for r in records if r["kind"] == "cell"}
    by_kind: dict[str, list[Record]] = {}
    for record in records:
        if not record.get("cell") or (record["cell"], record.get("attempt")) in closed:
            by_kind.setdefault(record["kind"], []).append(upgraded(record, run.get("schema", 0)))
    attempts = max((r.get("attempt", 0) for r in records), default=0)
    return Run(path, by_kind, warnings, frozenset(str(cell) for cell, _ in closed), attempts)


def holds_run(folder: Path) -> bool:
    """Whether a folder has records, packed or not."""
    return (folder / FILE).exists() or (folder / PACKED).exists()


def unpacked(path: Path) -> bytes:
    """What a packed file holds.

    Raises:
        StoreError: it is damaged, or holds more than ``MOST_BYTES``.
        OSError: it cannot be read.
    """
    try:
        with gzip.open(path) as stream:
            data = stream.read(MOST_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise StoreError(f"{path} is not a whole .gz file") from None
    if len(data) > MOST_BYTES:
        raise StoreError(f"refused: {path.name} holds more than {MOST_BYTES // 2**20} MiB")
    return data


def pack(folder: Path) -> None:
    """Put the packed records in the place of the plain ones, the same bytes each time; packed ones stay as they are.

    Raises:
        OSError: the folder cannot be written; the plain ones are kept then.
    """
    plain, packed = folder / FILE, folder / PACKED
    if packed.exists():
        return
    try:
        with packed.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
            stream.write(plain.read_bytes())
    except OSError:
        packed.unlink(missing_ok=True)
        raise
    plain.unlink()


class Journal:
    """The one writer of a run's records; holds a lock, so that two runs never share a folder.

    Raises:
        StoreError: the folder cannot be written, is sealed, or another run is writing to it.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / PACKED).exists():
            raise StoreError(f"{folder} is sealed and takes no more records: choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = (folder / FILE).open("ab+")
        except OSError as error:
            raise StoreError(f"cannot write to {folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StoreError(f"another run is writing to {folder}: wait for it or choose another --out") from None
        self._finish_cut_line()

    def _finish_cut_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, items: Iterable[Any], cell: str = "", attempt: int = 0) -> None:
        """Append records (dataclasses, or dicts that carry their kind) and make them durable.

        Raises:
            StoreError: the disk is full or gone.
        """
        lines = []
        for item in items:
            record = item if isinstance(item, dict) else as_record(item)
            record = {"kind": record["kind"], "cell": cell, "attempt": attempt, **record}
            lines.append(json.dumps(_plain(record), allow_nan=False, ensure_ascii=False) + "\n")
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(f"cannot write records: {error.strerror}; what was written before is kept") from None

    def close(self) -> None:
        """Release the folder."""
        self._file.close()


def _plain(value: Any) -> Any:
    """NaN and infinities as words, for JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
