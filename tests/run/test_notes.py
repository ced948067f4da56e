"""A worker's note names whom to blame, also when something has written over it."""

from pathlib import Path

from harness.records.schema import Group
from harness.run.child import Child
from harness.run.jobs import NOTE_BYTES, Cell, Job, note_bytes

GROUP = Group("scale", "", "", "cpu", 1)


class Noted(Child):
    """A child without a process."""

    def __init__(self, job: Job, note: Path) -> None:
        self.job, self._note, self.done = job, note, set()


def _noted(tmp_path: Path, text: bytes, *strategies: str) -> tuple[str, str, str] | None:
    job = Job((Cell("gate", strategies, GROUP),), (), "cpu", 1, 0, 0.0)
    note = tmp_path / "note"
    note.write_bytes(text.ljust(NOTE_BYTES, b"\0"))
    return Noted(job, note).note


def test_nothing_is_named_before_the_first_note(tmp_path: Path) -> None:
    assert _noted(tmp_path, b"", "one") is None


def test_a_note_is_read(tmp_path: Path) -> None:
    assert _noted(tmp_path, note_bytes("scale", "one", "import"), "one", "two") == ("scale", "one", "import")


def test_a_spoilt_note_blames_the_only_strategy(tmp_path: Path) -> None:
    assert _noted(tmp_path, b'{"cell": "forgery"}\nxx', "one") == (str(GROUP), "one", "gate cell")


def test_a_spoilt_note_blames_all_where_it_may_be_any(tmp_path: Path) -> None:
    assert _noted(tmp_path, b"garbage", "one", "two") == (str(GROUP), "", "gate cell")


def test_all_of_a_group_can_be_left_out() -> None:
    job = Job((Cell("gate", ("one", "two"), GROUP),), (), "cpu", 1, 0, 0.0)
    assert not job.without(frozenset(), (GROUP, "")).cells
    assert job.without(frozenset()) == job
