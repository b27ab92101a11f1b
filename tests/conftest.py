"""Fixtures of all tests."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import file_order
import pytest
import structlog
from compile_once import compile_once

from forecaster import use_kernels, used_kernels

pytest.register_assert_rewrite("contract", "kafka_tools")  # shows the values of a failed assertion in shared test code

# One form of the compiled functions serves all shapes, here and in the daemons that tests start; without this most of
# the time would go into compilations. tests/forecaster/kernels/test_forms.py proves that the other form has equal bits.
KERNELS = os.environ.setdefault("FORECASTER_KERNELS", "general")
use_kernels(KERNELS)
compile_once()

TESTS = Path(__file__).parent
SLOW_COLLECTION = 0.05  # seconds of a full collection above which its survivors are frozen


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds an option of this suite."""
    parser.addoption("--record-seconds", action="store_true", help="write tests/seconds.json anew, see file_order.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files in the order of file_order.py."""
    files = [os.path.relpath(item.path, TESTS) for item in items]
    place = {file: at for at, file in enumerate(file_order.ordered(files, file_order.recorded()))}
    items.sort(key=lambda item: place[os.path.relpath(item.path, TESTS)])


def pytest_collection_finish() -> None:
    """Fails the run where the import of a test or a benchmark has changed the form of all compiled functions."""
    if used_kernels() != KERNELS:
        msg = f"kernels after the collection: got {used_kernels()!r}, expected {KERNELS!r}; an import calls use_kernels"
        raise pytest.UsageError(msg)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Writes the seconds of all files, if asked for."""
    if config.getoption("record_seconds"):
        reports = [
            one for kind in terminalreporter.stats.values() for one in kind if isinstance(one, pytest.TestReport)
        ]
        file_order.record((one.nodeid.partition("::")[0].removeprefix("tests/"), one.duration) for one in reports)


_LOG, _LEVEL = structlog.get_config(), logging.root.level


def _reset_log() -> None:
    structlog.configure(**_LOG)
    logging.root.handlers[:] = [one for one in logging.root.handlers if type(one).__module__ != "service.cli._logging"]
    logging.root.setLevel(_LEVEL)


@pytest.fixture(autouse=True)
def _log_of_no_command() -> Iterator[None]:
    """Resets the log of the process around every test: commands called in it redirect the log to their own stream.

    Fixtures of a module call commands too, before the fixtures of its first test, so what a test found is not restored.
    """
    _reset_log()
    yield
    _reset_log()


class _Collections:
    """Measures full collections of the garbage collector, in seconds of this thread's processor time."""

    longest = 0.0
    _began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        elif info["generation"] == 2:
            self.longest = max(self.longest, time.thread_time() - self._began)


_collections = _Collections()
gc.callbacks.append(_collections)


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """Excludes modules and kernels from collections: the engine collects at every start, and some tests often.

    A worker of the whole suite holds millions of objects, and a full collection of them takes up to a second.
    """
    _collections.longest = 0.0
    yield
    if _collections.longest > SLOW_COLLECTION:
        gc.collect()  # garbage of this test is not kept
        gc.freeze()
