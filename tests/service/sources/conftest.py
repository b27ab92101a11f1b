"""Fixtures of the sources' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opened_sources import OPENED


@pytest.fixture(autouse=True)
def _close_sources() -> Iterator[None]:
    """Closes the sources that a test opened."""
    yield
    while OPENED:
        OPENED.pop().close()
