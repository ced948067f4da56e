"""Sealing and checking: what is sealed is found again, what was changed is named, an archive is the same bytes."""

import gzip
import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.publish import check as checking
from harness.publish import claims as claiming
from harness.publish import manifest
from harness.publish import seal as sealing
from harness.publish.check import Finding, check
from harness.publish.evidence import read_run
from harness.publish.opening import BundleError, opened
from harness.records.gate import ControlResult
from harness.records.schema import CaseStatus
from harness.records.store import Journal, StoreError
from harness.report import everything
from tests.conftest import ROOT, Cli
from tests.publish.bundles import CLAIMS, RATIO, run, sealed

COMMITTED = ROOT / "results" / "intel-xeon-2-cores" / "2026-11-24-default"
CHANGES = 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed(tmp_path_factory.mktemp("sealed") / "run")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def _failed(found: list[Finding]) -> list[str]:
    return [f"{f.what}: {f.detail}" for f in found if f.verdict == "failed"]


def test_a_sealed_run_checks_and_sha256sum_reads_its_sums(bundle: Path) -> None:
    assert not _failed(checking.check(bundle))
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, capture_output=True, check=False)
    assert done.returncode == 0
    names = {f.path for f in manifest.read(bundle).files}
    assert {"README.md", "CITATION.cff", "claims.json", "plan.json", "environment.json", "source.json"} <= names
    assert {"packages.txt", "records.jsonl.gz", "pytest-benchmark.json", "tables/timing-wave.csv"} <= names
    assert "records.jsonl" not in names


def test_every_random_change_of_a_byte_is_found(copy: Path) -> None:
    rng = random.Random(0)
    paths = sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
    missed = []
    for _ in range(CHANGES):
        path = rng.choice(paths)
        before = path.read_bytes()
        at = rng.randrange(len(before))
        path.write_bytes(before[:at] + bytes([before[at] ^ rng.randrange(1, 256)]) + before[at + 1 :])
        try:
            if not manifest.verify(copy)[1]:
                missed.append((path, at))
        except BundleError:
            pass
        path.write_bytes(before)
    assert not missed
    assert not manifest.verify(copy)[1]


def test_files_that_are_missing_added_or_cut_are_named(copy: Path) -> None:
    (copy / "claims.json").unlink()
    (copy / "more.txt").write_text("x")
    (copy / "packages.txt").write_bytes((copy / "packages.txt").read_bytes() + b"\n")
    said = "\n".join(manifest.verify(copy)[1])
    assert "claims.json: missing" in said
    assert "more.txt: not in manifest.json" in said
    assert "packages.txt: 1 bytes, sealed with 0" in said


def _resealed(folder: Path) -> None:
    """As somebody would who changes a file and makes the digests again."""
    before = manifest.read(folder)
    derived = frozenset(f.path for f in before.files if f.role in ("table", "picture"))
    manifest.write(folder, manifest.describe(folder, derived))


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("tables/timing-wave.md", "faster", "slower", "tables/timing-wave.md: line 4"),
        ("tables/timing-wave.csv", "faster", "slower", "tables/timing-wave.csv: line"),
        ("environment.json", '"torch": "2"', '"torch": "3"', "environment.json: torch ('3', not '2')"),
        ("plan.json", '"launches": 8', '"launches": 9', "plan.json: launches ('9', not '8')"),
        ("source.json", '"wave": "a"', '"wave": "z"', "source.json: digests.wave ('z', not 'a')"),
        ("claims.json", '"n": 8', '"n": 80', "fast-twice: n: 80 published, 8 recomputed"),
        ("claims.json", '"threshold": 1.5', '"threshold": 9.5', "fast-twice: verdict: held published, failed"),
        ("pytest-benchmark.json", '"launches": 8', '"launches": 9', "pytest-benchmark.json: line"),
        ("records.jsonl.gz", '"launch": 3', '"launch": 4', "table: tables/timing-wave"),
    ],
)
def test_a_change_with_new_digests_does_not_follow_from_the_records(
    copy: Path, name: str, old: str, new: str, told: str
) -> None:
    packed = name.endswith(".gz")
    data = (copy / name).read_bytes()
    text = (gzip.decompress(data) if packed else data).decode()
    assert old in text
    changed = text.replace(old, new, 1).encode()
    (copy / name).write_bytes(gzip.compress(changed) if packed else changed)
    _resealed(copy)
    assert not manifest.verify(copy)[1]
    assert any(told in line for line in _failed(checking.check(copy, pictures=False)))


def test_pictures_are_not_testable_with_other_packages(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = manifest.packages()
    monkeypatch.setattr(manifest, "packages", lambda: {**here, "matplotlib": "0.1"})
    (found,) = [f for f in checking.check(copy) if f.what == "picture"]
    assert found.verdict == "not_testable"
    assert "matplotlib" in found.detail


def test_a_picture_that_the_records_do_not_give_is_found(copy: Path) -> None:
    path = copy / "plots" / "speedup-wave.svg"
    path.write_text(path.read_text().replace("#", "#", 1) + "\n")
    _resealed(copy)
    assert _failed(checking.check(copy)) == [
        "picture: plots/speedup-wave.svg: its bytes differ from what the records give"
    ]


def test_plots_as_pdf_are_sealed_and_checked_like_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    everything.write_all(run(folder), folder, pdf=True)
    declared = tmp_path / "claims.toml"
    declared.write_text(claiming.to_toml(CLAIMS))
    made, _ = sealing.seal(folder, declared)
    drawn = [f.path for f in made.files if f.path.endswith(".pdf")]
    assert {f.role for f in made.files if f.path in drawn} == {"picture"}
    assert len(drawn) == len(list((folder / "plots").glob("*.svg")))
    assert not _failed(checking.check(folder))
    path = folder / drawn[0]
    path.write_bytes(path.read_bytes() + b"\n")
    _resealed(folder)
    assert _failed(checking.check(folder)) == [f"picture: {drawn[0]}: its bytes differ from what the records give"]
    (folder / "plots" / "mine.pdf").write_bytes(b"%PDF")
    with pytest.raises(BundleError, match=r"plots/mine\.pdf is not written by the report"):
        sealing.seal(folder, declared)


def test_an_archive_is_the_same_bytes_whatever_the_clock_and_checks_as_its_folder(copy: Path, tmp_path: Path) -> None:
    made = manifest.read(copy)
    digests = set()
    for number in range(2):
        target = tmp_path / f"{number}.tar.gz"
        for path in copy.rglob("*"):
            path.touch()
            path.chmod(0o700 if number else 0o755)
        (copy / "reproductions").mkdir(exist_ok=True)
        (copy / "reproductions" / "x.json").write_text(str(number))
        sealing.pack(copy, made, target)
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1
    with opened(tmp_path / "0.tar.gz") as folder:
        assert not manifest.verify(folder)[1]
        assert not (folder / "reproductions").exists()


def test_sealing_twice_gives_the_same_bundle(copy: Path) -> None:
    before = manifest.read(copy).bundle
    declared = copy.parent / "claims.toml"
    declared.write_text(claiming.to_toml(CLAIMS))
    assert sealing.seal(copy, declared)[0].bundle == before


def test_a_bundle_from_before_records_were_packed_checks(copy: Path) -> None:
    (copy / "records.jsonl").write_bytes(gzip.decompress((copy / "records.jsonl.gz").read_bytes()))
    with pytest.raises(BundleError, match="keep one of them"):
        read_run(copy)
    (copy / "records.jsonl.gz").unlink()
    _resealed(copy)
    assert "records.jsonl" in {f.path for f in manifest.read(copy).files if f.role == "evidence"}
    assert not _failed(checking.check(copy, pictures=False))


def test_a_sealed_run_takes_no_more_records(cli: Cli, copy: Path) -> None:
    with pytest.raises(StoreError, match="is sealed and takes no more records"):
        Journal(copy)
    done = cli("bench", "--resume", "--out", copy)
    assert done.returncode == 2
    assert "is sealed and takes no more records: start a new run" in done.stderr


def test_claims_that_the_run_began_with_are_known_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    text = claiming.to_toml([RATIO])
    run(folder, declared=hashlib.sha256(text.encode()).hexdigest())
    (folder / "claims.toml").write_text(text.replace(RATIO.id, "another"))
    with pytest.raises(BundleError, match="has changed since the run began"):
        sealing.seal(folder)
    (folder / "claims.toml").write_text(text)
    sealing.seal(folder)
    assert "| before the run |" in (folder / "README.md").read_text()
    assert [f.verdict for f in check(folder, False) if "what the run began with" in f.detail] == ["held"]
    other = tmp_path / "other.toml"
    other.write_text(text + "\n")
    sealing.seal(folder, other)
    assert "| declared, when is not on record |" in (folder / "README.md").read_text()


def test_what_is_not_finished_blind_or_refused_by_the_gate_cannot_be_sealed(tmp_path: Path) -> None:
    from tests.analyse.made_up import strategy

    run(
        tmp_path / "unfinished",
        extra=[strategy("late", 9)],
        wanted={"strategies": ["autograd", "late"], "layers": ["wave"]},
    )
    with pytest.raises(BundleError, match="the run is not finished"):
        sealing.seal(tmp_path / "unfinished")
    run(tmp_path / "blind", extra=[ControlResult("planted", 1, "cpu", "values", "missed")])
    with pytest.raises(BundleError, match="blind"):
        sealing.seal(tmp_path / "blind")
    bad = CaseStatus("wave", "fast", "wrong", "gradient", "gate", device="cpu")
    run(tmp_path / "wrong", extra=[bad])
    toml = tmp_path / "claims.toml"
    toml.write_text(claiming.to_toml([RATIO]))
    with pytest.raises(BundleError, match="claim fast-twice: wave/fast did not pass the gate"):
        sealing.seal(tmp_path / "wrong", toml)
    assert not (tmp_path / "wrong" / "manifest.json").exists()


def test_that_a_strategy_is_wrong_is_sealed_as_a_failed_claim_about_all(tmp_path: Path) -> None:
    bad = CaseStatus("wave", "same", "wrong", "gradient", "gate", device="cpu")
    run(tmp_path / "run", extra=[bad], profile_claims=["correct", "bits"])
    _, claims = sealing.seal(tmp_path / "run")
    declared = {c.kind: c.verdict for c in claims if not c.drafted}
    assert declared == {"correct": "failed", "bits": "held"}
    assert "failed" not in {f.verdict for f in check(tmp_path / "run", False)}
    assert "| before the run |" in (tmp_path / "run" / "README.md").read_text()


def test_a_file_that_the_report_does_not_write_is_not_sealed_as_a_table(copy: Path) -> None:
    (copy / "tables" / "old.md").write_text("x")
    with pytest.raises(BundleError, match=r"tables/old\.md is not written by the report"):
        sealing.seal(copy)


def test_the_command_line_seals_and_checks_the_committed_run(cli: Cli, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(COMMITTED, tmp_path / "run"))
    done = cli("seal", folder, "--tar", tmp_path / "run.tar.gz", "--json")
    assert done.returncode == 0, done.stderr
    claims = json.loads(done.stdout)["claims"]
    assert len([name for name in claims if name.endswith("-converges")]) == 5
    assert set(claims.values()) == {"held"}
    assert (tmp_path / "run.tar.gz").stat().st_size < 5 * 2**20
    done = cli("check", tmp_path / "run.tar.gz", "--no-plots")
    assert done.returncode == 0, done.stdout
    path = folder / "tables" / "gate.csv"
    path.write_text(path.read_text().replace("ok", "OK", 1))
    done = cli("check", folder, "--no-plots")
    assert done.returncode == 1
    assert "tables/gate.csv: its bytes are not those that were sealed" in done.stdout
    assert "tables/gate.csv: line 2 has" in done.stdout


@pytest.mark.parametrize("arguments", [("seal", "nowhere"), ("check", "nowhere"), ("claims", "nowhere"), ("diff", "a", "b"),
                                       ("check", "tests"), ("reproduce", "tests")])  # fmt: skip
def test_what_is_no_bundle_gets_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (ROOT / "tests" / "reproductions").exists()
