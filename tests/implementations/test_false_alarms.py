"""Right code raises no alarm, whatever the seed: with 20 of them, in every dtype and layout that the gate asks about."""

from collections.abc import Iterator

import pytest
import torch

from harness.layers.discover import load, scan
from harness.records.dims import dims_text
from harness.run.gate import describe_failure, failed
from harness.run.remote import Remote, SubjectProcess
from harness.verify.asking import Asked, Claims, Local, claims_of
from harness.verify.checks import VALUES
from harness.verify.judging import Subject, compare
from harness.verify.reference import Yardstick
from harness.verify.stage import Stage
from harness.verify.suite import stages
from tests.conftest import ROOT

ENTRIES = {(e.layer, e.strategy): e for e in scan(["implementations"])}
LAYERS = sorted({layer for layer, _ in ENTRIES})
WITHOUT_NUMBERS = {"steady_memory", "released", "settled", "context", "dead_backward", "backward_returns", "training"}
"""Checks that draw no values that another seed would change, and training, which takes seconds."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # for subjects, as the conductor does it for its workers
        yield
    torch.set_num_threads(before)


def _strategies(layer: str, compiled: bool = False, kernels: bool = False) -> list[str]:
    found = []
    for (name, strategy), entry in ENTRIES.items():
        if name == layer and strategy is not None:
            value = load(entry).value
            if ("compiler" in value.needs, bool(value.kernels)) == (compiled, kernels):
                found.append(strategy)
    return found


def _subject(layer: str, strategy: str, yardstick: Yardstick, claims: Claims, asked: Asked) -> Subject:
    own = load(ENTRIES[layer, None]).value
    return Subject(layer, own, strategy, claims, asked, yardstick, "cpu", bool(claims.kernels))


def _yardstick(layer: str) -> Yardstick:
    return Yardstick(load(ENTRIES[layer, load(ENTRIES[layer, None]).value.reference]).value)


def _alarms(subject: Subject, all_stages: Iterator[Stage]) -> list[str]:
    name = f"{subject.layer_name}/{subject.strategy_name}"
    results = (r for stage in all_stages for r in stage.run())
    return [f"{name}: {describe_failure(r)}" for r in results if failed(r) or r.result == "wasteful"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("layer", LAYERS)
def test_no_alarm_in_twenty_seeds(layer: str) -> None:
    alarms, own = [], load(ENTRIES[layer, None]).value
    for seed in range(20):
        yardstick = _yardstick(layer)
        for name in _strategies(layer):
            strategy = load(ENTRIES[layer, name]).value
            subject = _subject(layer, name, yardstick, claims_of(strategy), Local(own, strategy))
            chosen = (s for s in stages(subject, 1000 * seed, "quick") if s.check not in WITHOUT_NUMBERS)
            alarms += _alarms(subject, chosen)
    assert not alarms


@pytest.mark.parametrize("layer", LAYERS)
def test_no_alarm_for_kernels_in_three_seeds(layer: str) -> None:
    asked = ("values", "cotangents", "layouts", "updated", "double_backward")
    alarms = []
    small = dims_text(load(ENTRIES[layer, None]).value.check[0])
    with SubjectProcess(("implementations",), "cpu", interpret=True) as process:
        yardstick = _yardstick(layer)
        for name in _strategies(layer, kernels=True):
            remote = Remote(process, layer, name)
            subject = _subject(layer, name, yardstick, remote.claims(), remote)
            for seed in range(3):
                chosen = (s for s in stages(subject, 1000 * seed, "quick") if s.check in asked and s.dims == small)
                alarms += _alarms(subject, chosen)
    assert not alarms


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_alarm_where_tiles_are_whole_and_terms_are_dealt_out_to_several_programs(dtype: str) -> None:
    """Multiples of 16 take tiles of their own, and 400 rows two programs for each tile of the weight's gradient."""
    with SubjectProcess(("implementations",), "cpu", interpret=True) as process:
        remote = Remote(process, "affine", "triton")
        subject = _subject("affine", "triton", _yardstick("affine"), remote.claims(), remote)
        for gelu in (0, 1):
            found = compare(subject, VALUES, {"B": 400, "I": 144, "O": 272, "gelu": gelu}, dtype, 0, 2)
            assert {c.result for c in found} == {"ok"}, found
