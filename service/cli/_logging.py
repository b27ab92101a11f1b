"""Configures the log: structlog to one stream, as text for people or as JSON lines."""

from __future__ import annotations

import logging
import os
from typing import TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from service.config.sections import LogConfig
from service.monitoring.log_limits import LogLimits

_LONGEST = 500  # characters of a library's message


def configure_logging(settings: LogConfig, stream: TextIO, limits: LogLimits | None = None) -> None:
    """Sends the log of this process to `stream`, from `log.level` on, in `log.format`. May be called repeatedly.

    Normal operation logs the start, the end and notable changes; never single events. Tracebacks show no local
    variables, because they could contain a password.

    Args:
        settings: level, format and the limit of lines per kind.
        stream: the stream to write to.
        limits: counts lines and suppresses those above the limit; None: no limit.
    """
    if limits is not None:
        limits.per_minute = settings.per_minute
    json = settings.format == "json"
    renderer: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(default=str),
        ]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty() and not os.environ.get("NO_COLOR"),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if limits is None else [limits]),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # `demo` redirects the log to a file first
    )
    for handler in [handler for handler in logging.root.handlers if isinstance(handler, _Libraries)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(_Libraries(level=max(level, logging.WARNING)))


class _Libraries(logging.Handler):
    """Forwards warnings and errors of libraries that use Python's logging (uvicorn, Kafka clients) to the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record with one kind per library, so that the limits apply per library."""
        library = record.name.partition(".")[0]
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(f"library {library}", says=record.getMessage()[:_LONGEST])
