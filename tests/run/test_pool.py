"""Processes that run one after the other are started a few at a time, and still begin one after the other."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.records.schema import Group
from harness.run.child import Child
from harness.run.jobs import Cell, Job
from harness.run.pool import LocalPool

STUB = "tests.run.stub"


def _job(name: str) -> Job:
    return Job((Cell("time", (name,), Group("stub", "N=1", "float32", "cpu", 1), "forward"),), (), "cpu", 1, 0, 0.0)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPool]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    place = LocalPool(tmp_path, STUB)
    yield place
    place.clear()


def _said(pool: LocalPool) -> list[tuple[Child, str]]:
    """Who has closed which cell, within a minute; a message may come in pieces."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := [(child, message["cell"]) for child in pool.ready(0.1) for message in child.messages()[0]]:
            return found
    raise AssertionError("nothing was said for a minute")


def test_the_next_process_is_there_and_waits(pool: LocalPool) -> None:
    for name in ("first", "second", "third"):
        pool.offer(_job(name))
    running = []
    for left in (2, 1, 0):
        child = pool.start(1)
        assert child is not None
        assert (pool.waiting, pool.start(1)) == (left, None)  # one at a time
        held = pool._held[0] if pool._held else None
        assert _said(pool) == [(child, child.job.cells[0].name)]
        if left == 2:
            assert held is not None
            assert held.process.poll() is None
            assert held.note is None  # it has touched nothing
        assert child.end(5.0) == 0
        pool.release(child)
        running.append(child.job.cells[0].strategies)
    assert running == [("first",), ("second",), ("third",)]
    assert pool.start(1) is None


def test_those_that_wait_are_stopped_with_the_rest(pool: LocalPool) -> None:
    for name in ("first", "second"):
        pool.offer(_job(name))
    first = pool.start(1)
    (second,) = pool._held
    assert first is not None
    pool.clear()
    assert None not in (first.process.returncode, second.process.returncode)
    assert pool.waiting == 0
    assert pool.start(1) is None


def test_one_that_ends_before_its_turn_is_heard_in_its_turn(pool: LocalPool) -> None:
    for name in ("first", "second"):
        pool.offer(_job(name))
    first = pool.start(1)
    assert first is not None
    (second,) = pool._held
    second.process.kill()
    second.process.wait()
    assert first.end(5.0) == 0
    pool.release(first)
    assert pool.start(1) is second
    assert pool.ready(10.0) == [second]
    assert second.messages() == ([], True)
    assert second.note is None


def test_side_by_side_nobody_waits(pool: LocalPool) -> None:
    for name in ("first", "second", "third"):
        pool.offer(_job(name))
    both = [pool.start(2), pool.start(2)]
    assert None not in both
    assert (pool.start(2), pool.waiting, len(pool._held)) == (None, 1, 0)
    said: set[Child] = set()
    while len(said) < 2:
        said |= {child for child, _ in _said(pool)}
    assert said == set(both)
