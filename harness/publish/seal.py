"""Closing a run: derived files made again, statements written, records packed, all digested; and one archive of it."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from harness.analyse import frames
from harness.analyse.gate import NOT_HERE
from harness.publish import claims as claiming
from harness.publish import manifest, statements
from harness.publish.claims import Claim
from harness.publish.drafting import draft, minutes
from harness.publish.evaluating import Measured, evaluate
from harness.publish.evidence import foreign, read_run
from harness.publish.manifest import FILE, SUMS, Manifest, has_pdf
from harness.publish.opening import BundleError, files_of
from harness.records.store import CLAIMS, Run
from harness.records.store import pack as pack_records
from harness.report import everything

DERIVED = ("tables", "plots")


def seal(folder: Path, declared: Path | None = None, authors: Sequence[str] = ()) -> tuple[Manifest, list[Claim]]:
    """Close a run in place.

    Args:
        folder: of the run.
        declared: claims in TOML; without, ``claims.toml`` of the folder, or else the profile's and drafted ones.
        authors: of the results, for the citation.

    Raises:
        BundleError: the run is not finished, its gate was blind or refused a strategy that is claimed, or its folder
            holds what cannot be sealed. Nothing has been written then but derived files.
    """
    run = read_run(folder)
    with foreign("the records"):
        refuse_unfinished(run)
        before = run.of("run")[0].get("declared")
        declared = declared or (folder / CLAIMS if before or (folder / CLAIMS).exists() else None)
        found = claiming.read_toml(declared, run.schema) if declared else draft(run)
        first = declared is None or manifest.digest(declared) == before
        if before and not first and declared == folder / CLAIMS:
            raise BundleError(f"{CLAIMS} has changed since the run began with it: put it back, or give other --claims")
        if not found:
            raise BundleError("no claim holds on this run with room to spare: write some to a file and give --claims")
        refuse_gate_failures(run, found)
        claims = with_results(run, found)
        odd = [c.id for c in claims if c.verdict == "not_testable"]
        if odd:
            raise BundleError(f"claim {odd[0]}: the run holds nothing that it could be held against")
        written = [
            p.relative_to(folder).as_posix() for p in everything.write_all(run, folder, has_pdf(files_of(folder)))
        ]
        stale = [n for n in files_of(folder) if n.split("/")[0] in DERIVED and n not in written]
        if stale:
            raise BundleError(f"{stale[0]} is not written by the report: remove it, then seal again")
        texts = _texts(run, claims, authors, first)
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        pack_records(folder)
        made = manifest.describe(folder, frozenset(written))
        manifest.write(folder, made)
    except OSError as error:
        raise BundleError(f"cannot write to {folder}: {error.strerror}") from None
    return made, claims


def _texts(run: Run, claims: Sequence[Claim], authors: Sequence[str], first: bool) -> dict[str, str]:
    version = manifest.packages()["layerbench"] or "unknown"
    return {
        **statements.of_evidence(run),
        claiming.FILE: statements.of_claims(claims),
        "README.md": statements.readme(run, claims, first),
        "CITATION.cff": statements.citation(run, version, authors or ("The authors of this run",)),
    }


def with_results(run: Run, claims: Sequence[Claim]) -> list[Claim]:
    """Claims with value, interval, n, verdict and minutes as this run gives them."""
    measured = Measured(run)
    results = [(claim, evaluate(claim, measured)) for claim in claims]
    return [
        dataclasses.replace(
            c, value=f.value, low=f.low, high=f.high, n=f.n, verdict=f.verdict, minutes=minutes(c, measured),
            waived=measured.words(c),
        )
        for c, f in results
    ]  # fmt: skip


def refuse_unfinished(run: Run) -> None:
    """Only a whole run with a gate that sees can be published.

    Raises:
        BundleError: it is not.
    """
    timing = frames.timing(run)
    if not len(timing) or not (timing["status"] == "ok").any():
        raise BundleError("nothing was measured in this run: seal a run of bench")
    lost = timing[timing["reason"] == frames.NOT_MEASURED]
    if len(lost):
        row = next(frames.rows_of(lost))
        where = f"{row.layer} {row.dims} {row.dtype} {row.device} {row.passed} {row.strategy}"
        raise BundleError(f"the run is not finished ({where} was not measured): go on with bench --resume")
    missed = [r for r in run.of("control") if r["result"] == "missed"]
    if missed:
        raise BundleError(f"the gate of this run was blind ({missed[0]['control']} went through): it cannot be sealed")


def refuse_gate_failures(run: Run, claims: Sequence[Claim]) -> None:
    """No claim in favour of a strategy that gives wrong answers. One about all of them says so: it has failed.

    Raises:
        BundleError: there is one.
    """
    for r in run.of("status"):
        if r["dims"] or r["stage"] not in ("gate", "import") or r["status"] in ("ok", *NOT_HERE):
            continue
        for c in claims:
            about = not r["strategy"] or r["strategy"] in (c.strategy, c.against)
            if about and c.layer == r["layer"] and r["device"] in ("", c.device):
                name = f"{r['layer']}/{r['strategy']}"
                raise BundleError(f"claim {c.id}: {name} did not pass the gate ({r['status']}): it cannot be claimed")


def pack(folder: Path, made: Manifest, target: Path) -> None:
    """One archive of a sealed bundle, the same bytes each time; without its reproductions.

    Raises:
        BundleError: it cannot be written.
    """
    top = f"layerbench-{made.bundle}"
    try:
        with (
            target.open("wb") as raw,
            gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name in sorted([*(f.path for f in made.files), FILE, SUMS]):
                data = (folder / name).read_bytes()
                entry = tarfile.TarInfo(f"{top}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
                archive.addfile(entry, io.BytesIO(data))
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from None
