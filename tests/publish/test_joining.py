"""Shards become one run, or a line that says why they cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analyse import frames
from harness.publish.joining import join
from harness.publish.merging import merged
from harness.records.gate import Waived
from harness.records.schema import CaseStatus, CellEnd, Group, Roof, as_record
from harness.records.store import FILE, Journal, Record, Run, StoreError, read
from harness.run.shards import END, plan_digest
from harness.run.wanted import UsageError
from tests.analyse.made_up import header, samples, strategy
from tests.analyse.recorded import check

GROUPS = [Group("wave", f"N={n},D=8", "float32", "cpu", 1) for n in (64, 8, 16, 32, 128)]
ENVIRONMENT = {"kind": "environment", "cpu": "A CPU", "torch": "2", "packages": {}}


def _shard(folder: Path, number: int, of: int = 2, ended: bool = True, load: float = 0.5, **more: Any) -> Path:
    """A run of every ``of``-th group, as bench writes it; ``more`` goes into its header."""
    whole = [vars(group) | {"passes": ["forward"]} for group in GROUPS]
    mine = GROUPS[number - 1 :: of]
    first = header(**more)
    first |= {
        "groups": whole[number - 1 :: of], "plan": plan_digest(whole, 8, 1), "looks": 1, "machine": f"m{number}",
        "wanted": {**first["wanted"], "profile": "quick", "shard": [number, of]},
    }  # fmt: skip
    facts = [strategy("autograd"), strategy("fast"), {"kind": "layer", "layer": "wave", "title": "w", "formula": "y"}]
    slow = as_record(CaseStatus("wave", "other", "wrong", "no", "gate", device="cpu"))
    journal = Journal(folder)
    journal.write([first, {**ENVIRONMENT, "load_1min": load}, *facts, CellEnd(0.0)], "header", 1)
    waived = Waived("wave", "fast", "cpu", "jacrev", "jacrev: Jacobian for w: error 9, bound 1")
    journal.write([{**check("fast", "values"), "layer": "wave"}, slow, waived, CellEnd(1.0)], "gate wave/fast cpu", 2)
    journal.write([Roof("cpu", 1, "copy", "", 2**n, 1e9 + number) for n in (10, 20)] + [CellEnd(1.0)], "roofs cpu 1", 2)
    for group in mine:
        for launch in range(1, 9):
            rng = np.random.default_rng([number, launch])
            arms = [("autograd", False), ("autograd", True), ("fast", False)]
            found = [samples(n, launch, lambda rng: 1e-3, rng, again, group) for n, again in arms]
            journal.write([*found, CellEnd(1.0)], f"time {group} forward launch {launch}", 2 + launch)
    journal.write([CaseStatus("wave", "new", "crashed", f"in shard {number}", "time", device="cpu")])
    if ended:
        journal.write([CellEnd(0.0)], END, 11)
    journal.close()
    return folder


def _joined(tmp_path: Path, *numbers: int) -> tuple[Run, list[Run]]:
    of = len(numbers)
    folders = [_shard(tmp_path / f"s{n}", n, of, load=n) for n in numbers]
    return read(join(folders, tmp_path / "whole")), [read(f) for f in folders]


def test_a_waiver_of_several_shards_is_there_once_and_marks_the_rows_of_all(tmp_path: Path) -> None:
    whole, _ = _joined(tmp_path, 1, 2)
    assert len(whole.of("waived")) == 1
    timing = frames.timing(whole)
    assert set(timing.loc[timing["strategy"] == "fast", "verdict"]) == {"waived: jacrev"}
    (both,) = merged([whole, whole], 1).of("run")
    assert both["wanted"]["strategies"] == whole.of("run")[0]["wanted"]["strategies"]
    assert frames.waivers(merged([whole, whole], 1)) == {("wave", "fast", "cpu"): "waived: jacrev"}


def test_shards_of_an_earlier_schema_are_not_joined(tmp_path: Path) -> None:
    folders = [_shard(tmp_path / str(n), n, schema=1) for n in (1, 2)]
    with pytest.raises(UsageError, match="has records of schema 1, not 2"):
        join(folders, tmp_path / "whole")


def test_all_records_are_there_once(tmp_path: Path) -> None:
    whole, shards = _joined(tmp_path, 3, 1, 2)
    assert whole.done == frozenset().union(*(s.done for s in shards))
    (found,) = whole.of("run")
    assert [g["dims"] for g in found["groups"]] == [g.dims for g in GROUPS]
    assert found["wanted"]["shard"] == []
    assert found["machine"] is None
    assert [s["machine"] for s in found["shards"]] == ["m1", "m2", "m3"]

    def key(record: Record) -> str:
        return repr(sorted((k, v) for k, v in record.items() if k not in ("attempt",)))

    for kind in ("samples", "environment"):
        assert sorted(map(key, whole.of(kind))) == sorted(key(r) for s in shards for r in s.of(kind))
    assert len(whole.of("check")) == len(whole.of("layer")) == 1
    assert {r["reason"] for r in whole.of("status")} == {"no", "in shard 1", "in shard 2", "in shard 3"}
    assert {r["per_second"] for r in whole.of("roof")} == {1e9 + 1}
    assert len(whole.of("cell")) == len({(c["cell"], c["attempt"]) for c in whole.of("cell")})


def test_its_figures_are_those_of_the_shards(tmp_path: Path) -> None:
    whole, shards = _joined(tmp_path, 1, 2)
    together = frames.timing(whole).set_index(["dims", "strategy"])
    assert len(together) == len(GROUPS) * 2
    for shard in shards:
        alone = frames.timing(shard).set_index(["dims", "strategy"])
        for column in ("ratio", "latency", "status"):
            assert alone[column].equals(together.loc[alone.index, column])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"launches": 5}, r"shards of different plans: launches is 5 in .*s2 and 8 in .*s1"),
        ({"digests": {"wave": "c", "wave/autograd": "b"}}, r"digests of wave is c in .*s2 and a in .*s1"),
        ({"stack": {"torch": "3"}}, r"different machines: torch is 3 in .*s2 and 2 in .*s1; `layerbench report .* shows them side by side"),
        ({"of": 3}, r"the number of shards is 3 in .*s2 and 2 in .*s1"),
        ({"number": 1}, r"shard 1/2 is there twice: .*s1 and .*s2"),
        ({"ended": False}, r"shard 2/2 has not ended: go on with `layerbench bench --resume --out .*s2`"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    one, other = _shard(tmp_path / "s1", 1), _shard(tmp_path / "s2", **{"number": 2, **change})
    with pytest.raises(UsageError, match=message):
        join([one, other], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_another_processor_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _shard(tmp_path / "s1", 1)
    monkeypatch.setitem(ENVIRONMENT, "cpu", "B CPU")
    with pytest.raises(UsageError, match=r"these are different machines: cpu is B CPU in .*s2 and A CPU in .*s1"):
        join([one, _shard(tmp_path / "s2", 2)], tmp_path / "whole")


def test_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shards are missing: 1/4, 3/4"):
        join([_shard(tmp_path / f"s{n}", n, 4) for n in (4, 2)], tmp_path / "whole")


def test_a_whole_run_is_no_shard(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    journal = Journal(folder)
    journal.write([header(), CellEnd(0.0)], "header", 1)
    journal.close()
    with pytest.raises(UsageError, match="run is no shard: bench --shard I/N makes them"):
        join([folder], tmp_path / "whole")


def test_groups_that_are_not_the_plan_s_are_noticed(tmp_path: Path) -> None:
    folders = [_shard(tmp_path / f"s{n}", n) for n in (1, 2)]
    text = (folders[1] / FILE).read_text()
    (folders[1] / FILE).write_text(text.replace("N=8,D=8", "N=9,D=8"))
    with pytest.raises(UsageError, match="are not those of their plan"):
        join(folders, tmp_path / "whole")


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no records"):
        join([tmp_path / "nothing"], tmp_path / "whole")
