"""Shared by all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

pytest.register_assert_rewrite("contract", "kafka_tools")  # a failed assertion in what tests share says what it saw


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Leaves the log of the process as it was: commands called in it turn the log to their own stream and level."""
    before, handlers, level = structlog.get_config(), list(logging.root.handlers), logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
