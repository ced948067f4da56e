"""Records survive whatever ends a run."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.layers.spec import options_of
from harness.records import store
from harness.records.dims import dims_of, dims_text, options_text, sizes_of
from harness.records.schema import SCHEMA, CellEnd, Check, FirstCall, Group, as_record
from harness.records.store import FILE, PACKED, Journal, StoreError, pack, read

GROUP = Group("affine", "B=2,I=3,O=4", "float32", "cpu", 1)


def _write(folder: Path, cells: int = 3) -> None:
    journal = Journal(folder)
    journal.write([{"kind": "run", "schema": SCHEMA}])
    for number in range(cells):
        journal.write([FirstCall(GROUP, "s", number, False, 0.5), CellEnd(1.0)], f"cell {number}", 1)
    journal.close()


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    _write(tmp_path)
    run = read(tmp_path)
    assert [r["launch"] for r in run.of("first_call")] == [0, 1, 2]
    assert run.of("first_call")[0]["dims"] == GROUP.dims
    assert run.done == {"cell 0", "cell 1", "cell 2"}
    assert run.attempts == 1
    assert not run.warnings


def test_a_group_is_laid_flat_and_pass_is_spelled_pass() -> None:
    record = as_record(FirstCall(GROUP, "s", 0, True, 1.0))
    assert (record["kind"], record["layer"], record["threads"]) == ("first_call", "affine", 1)


def test_dims_travel_as_text() -> None:
    assert dims_of(dims_text({"N": 4, "D": 3})) == {"N": 4, "D": 3}


@pytest.mark.parametrize(
    ("text", "sizes", "options"),
    [("N=4,D=3", {"N": 4, "D": 3}, ""), ("N=4,flag=1,D2=3,n_heads=0", {"N": 4, "D2": 3}, "flag=1,n_heads=0")],
)
def test_options_are_told_from_sizes_by_their_names(text: str, sizes: dict[str, int], options: str) -> None:
    assert sizes_of(text) == sizes
    assert options_text(text) == options
    assert dims_text(options_of(dims_of(text))) == options  # the rule that layers go by


@given(cut=st.integers(0, 2_000))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_keeps_every_closed_cell(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    _write(folder, 5)
    whole = (folder / FILE).read_bytes()
    cut = min(cut, len(whole))
    (folder / FILE).write_bytes(whole[:cut])
    intact = whole[:cut].split(b"\n")[:-1]
    closed = {json.loads(line)["cell"] for line in intact if b'"kind": "cell"' in line}
    if not intact:
        with pytest.raises(StoreError):
            read(folder)
        return
    run = read(folder)
    # A line that lacks only its newline is whole, and counts.
    assert closed <= run.done
    assert len(run.of("first_call")) == len(run.done)

    journal = Journal(folder)
    journal.write([FirstCall(GROUP, "later", 9, False, 0.5), CellEnd(1.0)], "cell 9", run.attempts + 1)
    journal.close()
    assert read(folder).of("first_call")[-1]["strategy"] == "later"


def test_records_of_a_cell_that_was_never_closed_do_not_count(tmp_path: Path) -> None:
    _write(tmp_path, 1)
    journal = Journal(tmp_path)
    journal.write([FirstCall(GROUP, "half", 7, False, 0.5)], "cell 7", 1)
    journal.write([FirstCall(GROUP, "again", 7, False, 0.5), CellEnd(1.0)], "cell 7", 2)
    journal.close()
    assert [r["strategy"] for r in read(tmp_path).of("first_call")] == ["s", "again"]


def test_damage_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    _write(tmp_path)
    lines = (tmp_path / FILE).read_text().splitlines()
    lines[1] = lines[1][:20]
    (tmp_path / FILE).write_text("\n".join(lines) + "\n" + '{"kind": "che')
    run = read(tmp_path)
    assert run.warnings == [
        f"{FILE} line 2 is damaged and was left out; the other records are kept",
        f"{FILE} line 8 is cut off and was left out; the other records are kept",
    ]
    assert len(run.of("first_call")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no records.jsonl"),
        ("", "holds no run record"),
        ('{"kind": "check"}\n', "holds no run record"),
        (f'{{"kind": "run", "schema": {SCHEMA + 1}}}\n', "newer than this program's"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(StoreError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_packed_records_are_the_same_run_in_the_same_bytes(tmp_path: Path) -> None:
    _write(tmp_path)
    plain, before = (tmp_path / FILE).read_bytes(), read(tmp_path)
    pack(tmp_path)
    packed = (tmp_path / PACKED).read_bytes()
    assert not (tmp_path / FILE).exists()
    assert gzip.decompress(packed) == plain
    assert read(tmp_path).records == before.records
    pack(tmp_path)
    assert (tmp_path / PACKED).read_bytes() == packed
    (tmp_path / PACKED).unlink()
    (tmp_path / FILE).write_bytes(plain)
    pack(tmp_path)
    assert (tmp_path / PACKED).read_bytes() == packed


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:30] + b"x" * 20 + data[50:], lambda _: b"{}"]
)
def test_packed_records_that_are_damaged_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    _write(tmp_path)
    pack(tmp_path)
    (tmp_path / PACKED).write_bytes(damage((tmp_path / PACKED).read_bytes()))
    with pytest.raises(StoreError, match=r"not a whole \.gz file"):
        read(tmp_path)


def test_packed_records_unpack_to_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path)
    size = (tmp_path / FILE).stat().st_size
    pack(tmp_path)
    monkeypatch.setattr(store, "MOST_BYTES", size)
    assert read(tmp_path).records
    monkeypatch.setattr(store, "MOST_BYTES", size - 1)
    with pytest.raises(StoreError, match=r"refused: records\.jsonl\.gz holds more than"):
        read(tmp_path)


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(StoreError, match="another run is writing"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write to"):
        Journal(tmp_path / "file" / "run")


def test_infinite_errors_are_written_as_words(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    check = Check(
        "l", "s", "values", "float32", "cpu", "N=1", "output", "wrong", error=float("inf"), bound=float("nan")
    )
    journal.write([{"kind": "run", "schema": SCHEMA}, {**as_record(check), "kind": "status"}])
    journal.close()
    assert read(tmp_path).of("status")[0]["error"] == "inf"
