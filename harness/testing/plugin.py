"""The pytest plugin: one fixture. Nothing heavier than pytest is imported before a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.testing.layerbench import Layerbench


@pytest.fixture
def layerbench(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Layerbench:
    """Says of strategies that they agree, and that one is not slower than another."""
    from harness.testing.layerbench import Layerbench

    return Layerbench(pytestconfig.rootpath, tmp_path_factory)
