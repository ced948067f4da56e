"""The environment that a run records."""

from pathlib import Path

import pytest

from harness.records import environment


def test_a_machine_is_known_again_by_the_salt_of_a_run_only() -> None:
    one, again, other = (environment.machine_digest(salt) for salt in ("a", "a", "b"))
    assert one == again
    assert one is None or one != other


def test_a_machine_without_ids_has_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert environment.machine_digest("a") is None
