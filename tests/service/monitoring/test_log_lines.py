"""Every line that the program can log is documented, has a kind of its own, is counted and rate-limited."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from parts import Bench, event
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.monitoring.log_limits import MOST_KINDS, LogLimits, kind_of
from service.monitoring.metrics import Metrics
from service.transport.memory import MemoryLog

DOCS = Path(__file__).parents[3] / "docs"


def load() -> ModuleType:
    """Loads docs/logs_page.py as a module."""
    spec = importlib.util.spec_from_file_location("logs_page", DOCS / "logs_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses need the module in sys.modules
    spec.loader.exec_module(module)
    return module


PAGE = load()
LINES = PAGE.log_lines()


def test_every_line_is_documented() -> None:
    """The texts in the source are those that the page explains, and each has a kind of its own."""
    texts = {line.text for line in LINES}
    assert texts == set(PAGE.MEANINGS)
    assert len({kind_of(text) for text in texts}) == len(texts) < MOST_KINDS
    page = (DOCS / "logs.md").read_text()
    for text in texts - {"library ..."}:
        assert f"| {text} |" in page
        assert f"`{kind_of(text)}`" in page


def test_every_kind_is_counted_and_limited() -> None:
    """Of each kind as many lines pass as the settings permit; all are counted under the kind's name."""
    metrics, limits = Metrics(CollectorRegistry()), LogLimits(lambda: 0.0, per_minute=2)
    limits.count_by(metrics.logged)
    for line in LINES:
        for said in "abc":  # a library that says the same again has a limit of its own
            with contextlib.suppress(structlog.DropEvent):
                limits(None, line.levels[0], {"event": line.text, "says": said})
    for line in LINES:
        kind = {"kind": kind_of(line.text)}
        assert metrics.registry.get_sample_value("forecaster_log_lines_total", {"level": line.levels[0]} | kind) == 2
        assert metrics.registry.get_sample_value("forecaster_log_suppressed_total", kind) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('_log = structlog.get_logger()\n_log.info("a", b=1)', [("a", ("info",), ("b",))]),
        ('structlog.get_logger().error("a", **more)', [("a", ("error",), ("...",))]),
        ('log = structlog.get_logger()\nsay = log.info if x else log.warning\nsay(f"lib {x}")',
         [("lib ...", ("info", "warning"), ())]),
        ('other.info("a")', []),
    ],
)  # fmt: skip
def test_lines_are_found(tmp_path: Path, source: str, found: list[tuple[str, ...]]) -> None:
    """The search finds every form of call that the program uses."""
    (tmp_path / "one.py").write_text(source)
    assert [(line.text, line.levels, line.fields) for line in PAGE.log_lines(tmp_path)] == found


def test_a_text_made_up_at_run_time_is_refused(tmp_path: Path) -> None:
    """A log call whose text is not a literal is an error."""
    (tmp_path / "one.py").write_text("_log = structlog.get_logger()\n_log.info(text)")
    with pytest.raises(ValueError, match=r"one.py:2: got _log.info\(text\), expected a literal"):
        PAGE.log_lines(tmp_path)


def test_silent_while_all_is_well(tmp_path: Path) -> None:
    """A stream with a missing value, a late event and rejects logs only the start and the first reject."""
    script = [event(step, name) for step in range(60) for name in "ab"]
    script[50:50] = [event(3), event(26, value=float("nan")), b"no event", b"none either"]
    with capture_logs() as said:
        Bench(tmp_path, MemoryLog({"0": script})).run()
    assert [line["event"] for line in said] == ["restored", "first record rejected for this reason"]
