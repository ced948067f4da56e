"""Bundles from strangers: refused within bounds and with one line, nothing written outside, nothing run."""

import gzip
import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.publish import claims as claiming
from harness.publish import manifest
from harness.publish.evidence import foreign, read_run
from harness.publish.opening import BundleError, Limits, files_of, opened, safe_name
from harness.records.store import StoreError
from harness.report import tables
from tests.conftest import Cli
from tests.publish.bundles import run


def _said(call: Callable[[], object]) -> str:
    """What a refusal says; nothing where there is none. Anything else that is raised fails the test."""
    try:
        call()
    except StoreError as error:
        return str(error)
    return ""


SMALL = Limits(files=20, bytes=100_000)
FUZZ = int(os.environ.get("FUZZ", "1"))
"""Times as many random inputs; ``make fuzz`` tries more than 10⁴."""


def _entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"x", **more: object
) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.size = len(data) if kind == tarfile.REGTYPE else 0
        for field, value in more.items():
            setattr(entry, field, value)
        archive.addfile(entry, io.BytesIO(data) if entry.size else None)

    return add


def _tar(path: Path, *entries: Callable[[tarfile.TarFile], None], format: int = tarfile.USTAR_FORMAT) -> Path:
    with gzip.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for add in entries:
            add(archive)
    return path


MALICIOUS = {
    "absolute": (_entry("/tmp/evil"), "not a path within"),
    "above": (_entry("a/../../evil"), "not a path within"),
    "above first": (_entry("../evil"), "not a path within"),
    "dot": (_entry("./a/./b"), "not a path within"),
    "windows": (_entry("C:\\evil"), "not a path within"),
    "symlink": (_entry("a", tarfile.SYMTYPE, linkname="/etc/passwd"), "a symbolic link"),
    "hard link": (_entry("a", tarfile.LNKTYPE, linkname="/etc/passwd"), "a hard link"),
    "character device": (_entry("a", tarfile.CHRTYPE, devmajor=1, devminor=5), "a device"),
    "block device": (_entry("a", tarfile.BLKTYPE), "a device"),
    "pipe": (_entry("a", tarfile.FIFOTYPE), "a pipe"),
    "contiguous": (_entry("a", tarfile.CONTTYPE), "not a plain file"),
    "sparse": (_entry("a", tarfile.GNUTYPE_SPARSE), "not a plain file"),
    "deep": (_entry("/".join("abcdefghij")), "folders deep"),
    "escape sequence": (_entry("a\x1b[2Jb"), r"a\\x1b\[2Jb is not a name"),
    "right to left": (_entry("a\u202eb"), "is not a name"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_entry_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    add, told = MALICIOUS[name]
    archive = _tar(tmp_path / "evil.tar.gz", _entry("top/first"), add)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=told) as error, opened(archive):
        pass
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_symlink_and_then_a_file_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = _tar(tmp_path / "x.tar.gz", _entry("a", tarfile.SYMTYPE, linkname=str(outside)), _entry("a/evil"))
    with pytest.raises(BundleError, match="a symbolic link"), opened(archive):
        pass
    assert not list(outside.iterdir())


def test_a_file_that_is_also_a_folder_or_there_twice(tmp_path: Path) -> None:
    for second in ("a/b", "a"):
        archive = _tar(tmp_path / "x.tar.gz", _entry("a"), _entry(second))
        with pytest.raises(BundleError, match="cannot unpack"), opened(archive):
            pass


def test_too_many_files_too_many_bytes_and_bombs(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "many.tar.gz", *(_entry(f"f{i}") for i in range(30)))
    with pytest.raises(BundleError, match="more than 20 files"), opened(archive, SMALL):
        pass
    bomb = _tar(tmp_path / "bomb.tar.gz", _entry("zeros", data=bytes(50_000_000)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(BundleError, match="refused: more than"), opened(bomb, SMALL):
        pass
    head = tarfile.TarInfo("huge")
    head.size = 2**31
    (tmp_path / "lies.tar.gz").write_bytes(gzip.compress(head.tobuf(tarfile.USTAR_FORMAT)))
    with pytest.raises(BundleError, match="more than 10000 files or 1024 MiB"), opened(tmp_path / "lies.tar.gz"):
        pass
    tail = gzip.compress(_entry_bytes("a") + bytes(1024) + bytes(20_000_000))
    (tmp_path / "tail.tar.gz").write_bytes(tail)
    with pytest.raises(BundleError, match="follows the end"), opened(tmp_path / "tail.tar.gz"):
        pass


def _entry_bytes(name: str) -> bytes:
    entry = tarfile.TarInfo(name)
    return entry.tobuf(tarfile.USTAR_FORMAT)


def test_extended_headers_are_refused(tmp_path: Path) -> None:
    long = "n" * 150
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        archive = _tar(tmp_path / "x.tar.gz", _entry(long), format=format)
        with pytest.raises(BundleError, match="not a plain file"), opened(archive):
            pass


@pytest.mark.parametrize(
    "data",
    [b"", b"not gzip", gzip.compress(b"not tar" * 200), gzip.compress(b"short"), gzip.compress(_entry_bytes("a"))[:-9]],
    ids=["empty", "not-gzip", "not-tar", "short", "cut-off"],  # gzip notes the time: processes would not agree on it
)
def test_what_is_no_archive(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    with pytest.raises(BundleError), opened(tmp_path / "x.tar.gz"):
        pass


def test_a_folder_with_a_link_a_pipe_too_many_or_too_deep(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "ok").write_text("x")
    assert files_of(folder) == ["ok"]
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="link is a link"), opened(folder):
        pass
    (folder / "link").unlink()
    (folder / "tables").symlink_to("/etc")
    with pytest.raises(BundleError, match="tables is a link"), opened(folder):
        pass
    (folder / "tables").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(BundleError, match="not a plain file"), opened(folder):
        pass
    (folder / "pipe").unlink()
    for i in range(30):
        (folder / f"f{i}").touch()
    with pytest.raises(BundleError, match="more than 20 files"), opened(folder, SMALL):
        pass
    folder.joinpath(*"abcdefghij").mkdir(parents=True)
    (folder.joinpath(*"abcdefghij") / "x").touch()
    with pytest.raises(BundleError, match="folders deep"), opened(folder):
        pass


@settings(max_examples=400 * FUZZ, deadline=None)
@given(st.text(max_size=40))
def test_a_name_that_is_taken_stays_within(name: str) -> None:
    said = _said(lambda: safe_name(name))
    assert "\n" not in said
    if not said:
        parts = safe_name(name)
        assert Path("/root").joinpath(*parts).resolve().is_relative_to("/root")
        assert ".." not in parts


def _whole_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("top/manifest.json", "top/records.jsonl", "top/claims.json"):
            _entry(name, data=b'{"kind": "run"}')(archive)
    return stream.getvalue()[:4096]


WHOLE = _whole_tar()


@settings(max_examples=600 * FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8),
    st.binary(max_size=64),
    st.booleans(),
)
def test_no_archive_does_harm(tmp_path: Path, changes: list[tuple[int, int]], tail: bytes, summed: bool) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    if summed:  # else almost nothing gets past the checksum
        for start in range(0, len(data), 1024):
            block = data[start : start + 512]
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            data[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(bytes(data) + tail, 1))
    before = set(os.listdir(tmp_path)), set(os.listdir("/tmp/.."))

    def load() -> None:
        with opened(path, SMALL) as folder:
            manifest.verify(folder)
            claiming.read(folder)

    assert len(_said(load).splitlines()) <= 1
    assert (set(os.listdir(tmp_path)), set(os.listdir("/tmp/.."))) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=12) | st.sampled_from(
        ["../../evil", "cpu", "wave", "N=4", "N=0,D=8", "float32", "forward", "=1+1", "\x1b[2J", "<script>", "$x^{$"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("run")
    run(folder, {"autograd": 1e-4, "fast": 5e-5}, launches=5)
    return (folder / "records.jsonl").read_bytes().splitlines()


@settings(max_examples=300 * FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_record_does_harm(tmp_path: Path, lines: list[bytes], data: st.DataObject) -> None:
    import json

    changed = list(lines)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        record = json.loads(changed[at])
        field = data.draw(st.sampled_from(sorted(record)))
        record[field] = data.draw(JSON)
        changed[at] = json.dumps(record).encode()
    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").write_bytes(b"\n".join(changed) + b"\n")
    before = set(os.listdir(tmp_path))

    def load() -> None:
        found = read_run(folder)
        with foreign("the evidence"):
            tables.write_all(found, folder / "tables")

    assert len(_said(load).splitlines()) <= 1
    assert set(os.listdir(tmp_path)) == before
    assert {p.parent for p in tmp_path.rglob("*") if p.is_file()} <= {folder, folder / "tables"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seconds", [-1.0] * 11, "above 0"), ("call_seconds", [0.0] * 11, "above 0"), ("order", [0], "different lengths"),
        ("call_seconds", [1e-4], "different lengths"), ("call_seconds", "fast", "call_seconds is 'fast'"),
    ],
)  # fmt: skip
def test_samples_that_make_no_sense_are_refused(
    tmp_path: Path, lines: list[bytes], field: str, value: object, said: str
) -> None:
    import json

    records = [json.loads(line) for line in lines]
    next(r for r in records if r["kind"] == "samples")[field] = value
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    assert said in _said(lambda: read_run(tmp_path))


@settings(max_examples=300 * FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=JSON, known=st.dictionaries(st.sampled_from([*claiming.FIELDS, "odd"]), JSON, max_size=6))
def test_no_claim_does_harm(tmp_path: Path, found: object, known: dict[str, object]) -> None:
    import json

    from harness.publish.manifest import FILE

    whole = {"id": "a", "kind": "ratio", "layer": "wave", "strategy": "fast", "against": "autograd"}
    for value in (found, {"claims": found}, {"claims": [found]}, {"claims": [{**whole, **known}]}):
        (tmp_path / "claims.json").write_text(json.dumps(value))
        (tmp_path / FILE).write_text(json.dumps(value))
        for read in (claiming.read, manifest.read):
            assert len(_said(lambda read=read: read(tmp_path)).splitlines()) <= 1  # type: ignore[misc]


def test_the_report_of_a_strangers_run_writes_nothing_elsewhere(cli: Cli, tmp_path: Path, lines: list[bytes]) -> None:
    folder = tmp_path / "a" / "run"
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_bytes(b"\n".join(lines).replace(b'"wave"', b'"../../wave"') + b"\n")
    done = cli("report", folder)
    assert done.returncode == 2
    assert "layer is" in done.stderr or "a group is" in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "records.jsonl", "run"]


def test_json_that_nests_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="not JSON"):
        claiming.read(tmp_path)
    (tmp_path / "records.jsonl").write_text("[" * 100_000)
    with pytest.raises(StoreError):
        read_run(tmp_path)


def test_a_pickle_in_a_bundle_is_never_loaded(tmp_path: Path) -> None:
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "evil").encode() + b"'\ntR."
    (tmp_path / "records.jsonl").write_bytes(bomb + struct.pack("<I", 0))
    (tmp_path / "manifest.json").write_bytes(bomb)
    with pytest.raises(StoreError):
        manifest.verify(tmp_path)
    with pytest.raises(StoreError):
        read_run(tmp_path)
    assert not (tmp_path / "evil").exists()
