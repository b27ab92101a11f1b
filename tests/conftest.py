"""Fixtures of all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

pytest.register_assert_rewrite("contract", "kafka_tools")  # shows the values of a failed assertion in shared test code


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Restores the log of the process: commands called in it redirect the log to their own stream and level."""
    before, handlers, level = structlog.get_config(), list(logging.root.handlers), logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
