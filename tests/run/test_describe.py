"""Facts of strategies: what a variant varies must be there, and its digest changes with it."""

import io
from pathlib import Path

from harness.records.schema import StrategyFacts, as_record
from harness.run.describe import describe
from harness.run.jobs import NOTE_BYTES, Cell, Job
from harness.run.process import Process
from tests.conftest import PACKAGES

VARIANT = '''"""A variant."""

from harness import Strategy

from .autograd import strategy as varied

strategy = Strategy(varied.forward, variant_of="{}")
'''


def _facts(folder: Path, varied: str, comment: str = "") -> dict[str, StrategyFacts]:
    scale = folder / "scale"
    scale.mkdir(parents=True)
    for name in ("__init__", "autograd"):
        text = (PACKAGES / "hostile" / "scale" / f"{name}.py").read_text()
        (scale / f"{name}.py").write_text(text + comment)
    (scale / "again.py").write_text(VARIANT.format(varied))
    note = folder / "note"
    note.write_bytes(bytes(NOTE_BYTES))
    process = Process(Job((), (str(folder),), "cpu", 1, 0, 0.0), io.StringIO(), note)
    found = [f for f in describe(process, Cell("describe", (), None)) if isinstance(f, StrategyFacts)]  # type: ignore[arg-type]
    return {f.strategy: f for f in found}


def test_a_variant_says_what_it_varies_and_its_digest_changes_with_that(tmp_path: Path) -> None:
    one, other = _facts(tmp_path / "a", "autograd"), _facts(tmp_path / "b", "autograd", "\n# other\n")
    assert one["again"].error is None
    assert as_record(one["again"])["variant_of"] == "autograd"
    assert one["again"].digest != other["again"].digest


def test_a_variant_of_nothing_or_of_itself_is_an_error_that_says_so(tmp_path: Path) -> None:
    for name in ("nothing", "again"):
        facts = _facts(tmp_path / name, name)["again"]
        assert facts.error == f"again.py: variant_of '{name}' is no other strategy of scale"
