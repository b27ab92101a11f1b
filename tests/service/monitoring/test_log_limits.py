"""The log: excess lines of a kind are suppressed and counted, no secrets are logged, the level changes at run time."""

from __future__ import annotations

import contextlib
import io
import json
import logging

import pytest
import structlog
from prometheus_client import CollectorRegistry

from service.cli._logging import configure_logging
from service.config.sections import LogConfig
from service.monitoring.log_limits import MOST_KINDS, LogLimits
from service.monitoring.metrics import Metrics


def settings(**values: object) -> LogConfig:
    """Settings of [log]."""
    return LogConfig.model_validate({"format": "json"} | values)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """Returns the logged lines."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_flood() -> None:
    """Lines over the limit per minute are counted; the next line reports the count; other kinds are unaffected."""
    now, stream, metrics = [0.0], io.StringIO(), Metrics(CollectorRegistry())
    limits = LogLimits(lambda: now[0])
    configure_logging(settings(per_minute=3), stream, limits)
    log = structlog.get_logger()
    log.warning("Odd thing", n=0)
    limits.count_by(metrics.logged)
    for n in range(1, 10):
        log.warning("Odd thing", n=n)
    log.info("other")
    now[0] = 20.0  # room for one line
    log.warning("Odd thing", n=10)

    assert [(line["event"], line.get("n"), line.get("suppressed")) for line in lines(stream)] == [
        ("Odd thing", 0, None),
        ("Odd thing", 1, None),
        ("Odd thing", 2, None),
        ("other", None, None),
        ("Odd thing", 10, 7),
    ]
    labels = {"level": "warning", "kind": "odd_thing"}
    assert metrics.registry.get_sample_value("forecaster_log_lines_total", labels) == 4
    assert metrics.registry.get_sample_value("forecaster_log_suppressed_total", {"kind": "odd_thing"}) == 7


def test_kinds_are_bounded() -> None:
    """For any texts, the label `kind` has a bounded number of values."""
    kinds = set()
    limits = LogLimits(lambda: 0.0)
    limits.count_by(lambda _level, kind, _through: kinds.add(kind))
    for n in range(3 * MOST_KINDS):
        with contextlib.suppress(structlog.DropEvent):
            limits(None, "info", {"event": f"kind {n}"})

    assert len(kinds) == MOST_KINDS + 1
    assert "other" in kinds


def test_the_level_changes() -> None:
    """Loggers that exist take the level of a new configuration."""
    stream = io.StringIO()
    log = structlog.get_logger()
    for level in ("info", "error", "debug"):
        configure_logging(settings(level=level), stream)
        log.debug("fine")
        log.info("plain")

    assert [line["event"] for line in lines(stream)] == ["plain", "fine", "plain"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_variables(form: str) -> None:
    """A traceback does not show a password in a local variable."""
    stream = io.StringIO()
    configure_logging(settings(format=form), stream)

    def fail(password: str) -> None:
        token = password * 2
        raise RuntimeError(len(token))

    try:
        fail("hunter" + "2secret")
    except RuntimeError:
        structlog.get_logger().exception("it failed")

    assert "RuntimeError" in stream.getvalue()
    assert "hunter2secret" not in stream.getvalue()


def test_a_library_that_repeats_itself() -> None:
    """Messages of a library that differ in numbers only are logged once a minute, with the number of those between."""
    now, stream, metrics = [0.0], io.StringIO(), Metrics(CollectorRegistry())
    limits = LogLimits(lambda: now[0])
    limits.count_by(metrics.logged)
    configure_logging(settings(), stream, limits)
    client = logging.getLogger("kafka.net.manager")
    for attempt in range(20):
        now[0] = attempt * 3.0
        client.warning("Bootstrap of node %d failed (backoff %.2f secs)", attempt, attempt / 7)
        client.error("Connection failed")
    now[0] = 61.0
    client.warning("Bootstrap of node 99 failed (backoff 9.5 secs)")

    assert [(line["says"], line.get("suppressed")) for line in lines(stream)] == [
        ("Bootstrap of node 0 failed (backoff 0.00 secs)", None),
        ("Connection failed", None),
        ("Bootstrap of node 99 failed (backoff 9.5 secs)", 38),
    ]
    assert metrics.registry.get_sample_value("forecaster_log_suppressed_total", {"kind": "library_kafka"}) == 38


def test_messages_of_libraries_are_bounded() -> None:
    """However many messages a library has, a bounded number is remembered."""
    limits = LogLimits(lambda: 0.0, per_minute=100_000)
    for n in range(1000):
        limits(None, "warning", {"event": "library kafka", "says": "x" * n})

    assert len(limits._messages) == 200


def test_libraries_speak_in_the_same_log() -> None:
    """Warnings of libraries are logged shortened, once after repeated configuration; lower levels are not logged."""
    stream = io.StringIO()
    for _ in range(3):
        configure_logging(settings(), stream)
    logging.getLogger("kafka.conn").warning("x" * 10_000)
    logging.getLogger("kafka.conn").info("chatter")

    assert [(line["event"], line["says"]) for line in lines(stream)] == [("library kafka", "x" * 500)]
