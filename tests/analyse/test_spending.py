"""Where the time of a run went."""

from pathlib import Path

import pytest

from harness.analyse.spending import spending
from harness.records.schema import CellEnd, FirstCall, Rounds
from harness.records.store import Journal, read
from tests.analyse.made_up import GROUP, header, run_of


def test_what_is_in_no_sample_warm_up_or_first_call_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write([header(), CellEnd(0.0)], "header", 1)
    journal.write([CellEnd(20.0, waited=2.0)], "gate wave/fast cpu", 2)
    journal.write([CellEnd(1.0, waited=3.0)], "proofs known duration", 3)
    timed = [FirstCall(GROUP, "fast", 1, False, 1.0, 0.5, 0.25), Rounds(GROUP, "forward", 1, "wall", 0, {}, 6.0)]
    journal.write([*timed, CellEnd(9.0, waited=2.0)], f"time {GROUP} forward launch 1", 4)
    journal.write([CellEnd(4.0, waited=1.0)], f"memory {GROUP}", 5)
    journal.write([FirstCall(GROUP, "fast", 0, True, 5.0), CellEnd(5.5, waited=3.0)], f"cold {GROUP} fast", 6)
    journal.close()
    found = spending(read(tmp_path)).set_index("what")
    assert found["seconds"].to_dict() == {
        "samples": 6.0, "warm-up": 0.5, "first calls": 6.0, "loading strategies": 0.25, "drawing and judging": 1.75,
        "starting processes": 5.0,
        "gate": 22.0, "proofs and roofs": 4.0, "memory": 5.0,
    }  # fmt: skip
    assert found["share"].sum() == pytest.approx(1.0)
    assert found["share"]["starting processes"] == pytest.approx(5 / 19.5)
    assert found["share"][["gate", "proofs and roofs", "memory"]].isna().all()


def test_a_run_that_did_not_record_it_has_no_such_table(tmp_path: Path) -> None:
    assert spending(run_of(tmp_path, {"autograd": 1e-3, "fast": 1e-3}, launches=5)).empty
